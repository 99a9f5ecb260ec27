"""Receiving: smtpd, submission and the LMTP server."""
