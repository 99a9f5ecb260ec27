"""Content-Type and Content-Disposition: the value and its parameters (RFC 2045 s5.1, RFC 2231).

Continuations (filename*0, filename*1 …) are joined, character sets and percent encodings stay as they are: the client
decodes. Reads what it can of any octets.
"""

import re
from functools import lru_cache
from typing import Final

MAX_PARAMETERS: Final = 100
"""Parameters of one field that are looked at; real ones have up to a few dozen (RFC 2231 continuations)."""

MAX_REMEMBERED: Final = 100
REMEMBERED: Final = 256
"""Most messages say the same few things ("text/plain; charset=utf-8", "7bit"): short values are parsed once."""

_COMMENT: Final = re.compile(rb"\([^()\\]*\)")
_VALUE: Final = re.compile(rb"[ \t]*([^;\s]*)")
_PARAMETER: Final = re.compile(
    rb"""[ \t\r\n;]*
    ([^=;\s"]*)                        # name
    [ \t\r\n]*
    (?:=[ \t\r\n]*
      (?: "([^"\\]*(?:\\.[^"\\]*)*)"?  # quoted
        | ([^;\s"]*) )                 # token
    )?
    [^;"]*                             # whatever else stands before the next semicolon
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPE: Final = re.compile(rb"\\(.)", re.DOTALL)
_CONTINUED: Final = re.compile(rb"([^*]+)\*([0-9]{1,4})(\*?)\Z")

Parameters = tuple[tuple[bytes, bytes], ...]


def parse_parameterized(value: bytes) -> tuple[bytes, Parameters]:
    """The text before the first semicolon and the parameters, names as written. `value` is unfolded."""
    return _remembered(value) if len(value) <= MAX_REMEMBERED else _parse(value)


def _parse(value: bytes) -> tuple[bytes, Parameters]:
    if b"(" in value and b'"' not in value:
        value = _COMMENT.sub(b"", value)
    match = _VALUE.match(value)
    if match is None:
        return b"", ()
    if match.end() >= len(value):
        return match[1], ()
    semicolon = value.find(b";", match.end())
    if semicolon < 0:
        return match[1], ()
    return match[1], _parse_parameters(value, semicolon)


_remembered: Final = lru_cache(maxsize=REMEMBERED)(_parse)


def _parse_parameters(value: bytes, position: int) -> Parameters:
    found: list[tuple[bytes, bytes]] = []
    continued: dict[bytes, list[tuple[int, bool, bytes]]] = {}
    length = len(value)
    for _ in range(MAX_PARAMETERS):
        match = _PARAMETER.match(value, position)
        if match is None or match.end() == position:
            # A stray quote: step over it.
            position += 1
            if position >= length:
                break
            continue
        position = match.end()
        name, quoted, token = match.groups()
        if quoted is not None:
            text = _ESCAPE.sub(rb"\1", quoted) if b"\\" in quoted else quoted
        elif token is not None:
            text = token
        else:
            name = b""
            text = b""
        if name:
            piece = _CONTINUED.match(name) if b"*" in name else None
            if piece is None:
                found.append((name, text))
            else:
                continued.setdefault(piece[1], []).append((int(piece[2]), bool(piece[3]), text))
        if position >= length:
            break
    for name, pieces in continued.items():
        pieces.sort(key=lambda piece: piece[0])
        extended = any(piece[1] for piece in pieces)
        found.append((name + b"*" if extended else name, b"".join(piece[2] for piece in pieces)))
    return tuple(found)


def parameter(parameters: Parameters, name: bytes) -> bytes | None:
    """The value of the first parameter of this name (lower case)."""
    for key, value in parameters:
        if key.lower() == name:
            return value
    return None
