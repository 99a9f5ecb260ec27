"""POP3 (RFC 1939) without input or output."""
