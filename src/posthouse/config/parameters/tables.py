"""Lookup tables, rewriting and routing."""
