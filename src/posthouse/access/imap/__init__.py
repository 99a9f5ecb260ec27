"""IMAP sessions (RFC 3501 and extensions)."""
