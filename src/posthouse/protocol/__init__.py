"""Protocol engines without sockets: bytes in, events out."""
