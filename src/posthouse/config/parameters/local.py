"""Delivery to system users."""
