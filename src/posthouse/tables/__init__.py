"""Lookup tables: one module per map type."""
