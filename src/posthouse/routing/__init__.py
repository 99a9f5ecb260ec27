"""From an address to transport, next hop and recipient."""
