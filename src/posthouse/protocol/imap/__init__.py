"""IMAP (RFC 3501) without input or output: commands from octets, and wire texts."""
