"""Messages as POP3 sends them (RFC 1939 s3, s7)."""

from posthouse.protocol.message.header import header_end


def dot_stuffed(content: bytes) -> bytes:
    """The lines of a message with what ends them: a leading dot is doubled, the last line is "."."""
    if b"\n." in content:
        content = content.replace(b"\r\n.", b"\r\n..")
    if content.startswith(b"."):
        content = b"." + content
    return content + (b".\r\n" if content.endswith(b"\r\n") or not content else b"\r\n.\r\n")


def top(content: bytes, lines: int) -> bytes:
    """The header, its empty line and this many lines of the body."""
    position = header_end(content)
    for _ in range(lines):
        end = content.find(b"\n", position)
        if end < 0:
            return content
        position = end + 1
        if position == len(content):
            break
    return content[:position]
