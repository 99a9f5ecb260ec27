"""The outbound SMTP and LMTP client and DNS."""
