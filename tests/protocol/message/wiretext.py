"""Reading wire texts back, so that tests compare meaning: a literal and a quoted string may say the same."""

import re
from typing import Any

_QUOTED = re.compile(rb'"((?:[^"\\\r\n]|\\.)*)"')
_LITERAL = re.compile(rb"\{(\d+)\}\r\n")
_ATOM = re.compile(rb"[^ ()\"{]+")


def read(octets: bytes) -> list[Any]:
    """Lists for parentheses, bytes for strings, str for atoms and numbers, None for NIL. Raises ValueError."""
    stack: list[list[Any]] = [[]]
    position = 0
    while position < len(octets):
        here = octets[position : position + 1]
        if here == b"(":
            stack.append([])
            position += 1
        elif here == b")":
            inner = stack.pop()
            stack[-1].append(inner)
            position += 1
        elif here == b" ":
            position += 1
        elif match := _QUOTED.match(octets, position):
            stack[-1].append(re.sub(rb"\\(.)", rb"\1", match[1]))
            position = match.end()
        elif match := _LITERAL.match(octets, position):
            position = match.end() + int(match[1])
            stack[-1].append(octets[match.end() : position])
        elif match := _ATOM.match(octets, position):
            stack[-1].append(None if match[0] == b"NIL" else match[0].decode())
            position = match.end()
        else:
            raise ValueError(octets[position : position + 40])
    if len(stack) != 1:
        raise ValueError("parentheses")
    return stack[0]
