"""Delivery agents without their processes."""
