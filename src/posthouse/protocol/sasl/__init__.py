"""SASL (RFC 4422), server and client side, sans-IO: octets in, octets out. Base64 is what other protocols do to it."""
