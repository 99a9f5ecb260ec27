"""Accounts from elsewhere, taken over into the directory: a passwd-file, PostfixAdmin's tables, Dovecot's queries."""
