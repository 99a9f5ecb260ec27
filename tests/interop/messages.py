"""Messages whose every octet must survive, and how to compare what arrived."""

from email.header import Header

GB18030_BODY = "驿站：四字节汉字𠮷和€也要原样送达。\r\n".encode("gb18030")


def gb18030() -> bytes:
    subject = Header("驿站来信", "gb18030").encode()
    return (
        f"From: s@example.org\r\nTo: alice@example.test\r\nSubject: {subject}\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=gb18030\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    ).encode() + GB18030_BODY


def utf8() -> bytes:
    return (
        "From: s@example.org\r\nTo: alice@example.test\r\nSubject: =?utf-8?b?6am/56uZ?=\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        "Grüße — 驿站 🐎\r\n"
    ).encode()


def dots() -> bytes:
    return (
        b"From: s@example.org\r\nTo: alice@example.test\r\nSubject: dots\r\n\r\n"
        b".\r\n..\r\n.leading\r\nmiddle . dot\r\n...\r\n.\r\nFrom the start of a line\r\n>From quoted\r\nend\r\n"
    )


def all_octets() -> bytes:
    """Every octet but NUL, CR and LF, in short lines."""
    octets = bytes(value for value in range(1, 256) if value not in (10, 13))
    lines = b"\r\n".join(octets[at : at + 50] for at in range(0, len(octets), 50))
    return b"From: s@example.org\r\nTo: alice@example.test\r\nSubject: octets\r\n\r\n" + lines + b"\r\n"


def long_lines() -> bytes:
    return b"From: s@example.org\r\nTo: alice@example.test\r\nSubject: long\r\n\r\n" + b"x" * 990 + b"\r\n"


ALL = {"gb18030": gb18030, "utf8": utf8, "dots": dots, "all-octets": all_octets, "long-lines": long_lines}


def body(message: bytes) -> bytes:
    """What stands behind the header: trace fields in front may differ, this may not."""
    return message.replace(b"\r\n", b"\n").partition(b"\n\n")[2].replace(b"\n", b"\r\n")
