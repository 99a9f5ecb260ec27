"""A strict reader of what IMAP servers send (RFC 3501 s9): the judge of what ours sends."""

import re

_ATOM = re.compile(rb"""[^\x00-\x20\x7f-\xff()\{"\\]+|\\[A-Za-z*][^\x00-\x20\x7f-\xff()\{"\\]*""")
_QUOTED = re.compile(rb'"(?:[^"\\\x00\r\n\x80-\xff]|\\["\\])*"')
_LITERAL = re.compile(rb"\{([0-9]+)\}\r\n")

Value = bytes | list["Value"] | None


class NotImap(AssertionError):
    pass


def read_value(text: bytes, at: int = 0) -> tuple[Value, int]:
    """One parenthesised list, string, atom or NIL, and where it ends. Strings come without quotes."""
    first = text[at : at + 1]
    if first == b"(":
        found: list[Value] = []
        at += 1
        while text[at : at + 1] != b")":
            if at >= len(text):
                raise NotImap(f"a list does not end: {text[:200]!r}")
            # Bodies of a multipart and addresses stand side by side without a space.
            if found and text[at : at + 1] != b"(":
                if text[at : at + 1] != b" ":
                    raise NotImap(f"no space at {at}: {text[max(0, at - 40) : at + 40]!r}")
                at += 1
            elif found and text[at - 1 : at] != b")":
                raise NotImap(f"no space at {at}: {text[max(0, at - 40) : at + 40]!r}")
            if text[at : at + 1] == b" ":
                at += 1
            value, at = read_value(text, at)
            found.append(value)
        return found, at + 1
    if match := _QUOTED.match(text, at):
        return match[0][1:-1], match.end()
    if match := _LITERAL.match(text, at):
        end = match.end() + int(match[1])
        octets = text[match.end() : end]
        if len(octets) != int(match[1]) or b"\0" in octets:
            raise NotImap(f"not a literal at {at}: {text[max(0, at - 40) : at + 40]!r}")
        return octets, end
    if match := _ATOM.match(text, at):
        return (None if match[0] == b"NIL" else match[0]), match.end()
    raise NotImap(f"nothing readable at {at}: {text[max(0, at - 40) : at + 40]!r}")


def read_whole(text: bytes) -> Value:
    value, end = read_value(text)
    if end != len(text):
        raise NotImap(f"something behind the value: {text[end : end + 80]!r}")
    return value
