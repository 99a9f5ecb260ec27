"""Delivery to other servers over SMTP and LMTP: where to, in which order, over which connection, with which result."""
