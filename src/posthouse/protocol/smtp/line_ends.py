"""Line ends of content: CR and LF occur only together (RFC 5321 s2.3.8).

One that stands alone is how a message is smuggled past a server that disagrees about where lines end. Inside this
system content has CRLF only, so the question is asked once, where content comes in.
"""


def is_clean(content: bytes) -> bool:
    """Does no CR and no LF stand alone?"""
    pairs = content.count(b"\r\n")
    return content.count(b"\n") == pairs and content.count(b"\r") == pairs


def crlf(content: bytes) -> bytes:
    """Every line ends with CRLF, the last one too; a CR that stands alone becomes a space, as in Postfix 3.9."""
    if not is_clean(content):
        content = content.replace(b"\r\n", b"\n").replace(b"\r", b" ").replace(b"\n", b"\r\n")
    return content if content.endswith(b"\r\n") or not content else content + b"\r\n"
