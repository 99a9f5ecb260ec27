"""IMAP and POP3 listeners and sessions."""
