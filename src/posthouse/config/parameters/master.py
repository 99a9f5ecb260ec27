"""Processes, users, limits and the log."""
