"""IMAP and POP3 sessions: commands carried out on a store."""
