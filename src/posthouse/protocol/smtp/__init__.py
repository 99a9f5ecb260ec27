"""SMTP and LMTP (RFC 5321, RFC 2033) without input or output: the server's core and the client's."""
