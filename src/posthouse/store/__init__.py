"""Mailboxes: one interface, several formats."""
