"""Addresses on the right-hand side of a table: `user@example.com, "a b"@example.net, Name <x@y>` (RFC 5322 s3.4).

Laxer than the RFC as Postfix is: anything between separators is an address; comments are dropped, angle brackets
win over the words around them.
"""

from typing import Final

from posthouse.core.address import Address

_BLANK: Final = " \t\r\n"
"""Other white space of Unicode is part of an address (RFC 6532 s3.2)."""


def split_addresses(text: str) -> list[str]:
    """The addresses of a list in external form, without comments and names."""
    found: list[str] = []
    word: list[str] = []
    inside: list[str] | None = None
    """What stands in <…>, once one was seen."""
    at = 0
    end = len(text)
    depth = 0
    while at < end:
        character = text[at]
        step = 1
        if depth:
            depth += (character == "(") - (character == ")")
            step = 2 if character == "\\" else 1
        elif character == "(":
            depth = 1
        elif character == '"':
            close = _closing_quote(text, at)
            (word if inside is None or inside[:1] == [">"] else inside).append(text[at : close + 1])
            step = close + 1 - at
        elif character == "\\":
            (word if inside is None or inside[:1] == [">"] else inside).append(text[at : at + 2])
            step = 2
        elif character == ",":
            _finish(found, word, inside)
            word, inside = [], None
        elif character == "<" and inside is None:
            inside = []
        elif character == ">" and inside is not None:
            inside.insert(0, ">")
        elif inside is not None and inside[:1] != [">"]:
            inside.append(character)
        else:
            word.append(character)
        at += step
    _finish(found, word, inside)
    return found


def _finish(found: list[str], word: list[str], inside: list[str] | None) -> None:
    pieces = word if inside is None else (inside[1:] if inside[:1] == [">"] else inside)
    text = "".join(pieces).strip(_BLANK)
    if text:
        found.append(text)


def _closing_quote(text: str, at: int) -> int:
    at += 1
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == '"':
            return at
        at += 1
    return len(text) - 1


def parse_address(text: str) -> Address:
    """External form ("a b"@example.com) to an address; the last "@" outside quotes separates."""
    at = _last_at(text)
    local_part = text if at < 0 else text[:at]
    domain = "" if at < 0 else text[at + 1 :].strip(_BLANK)
    return Address(_unquoted(local_part.strip(_BLANK)), domain)


def parse_addresses(text: str) -> list[Address]:
    return [parse_address(word) for word in split_addresses(text)]


def _last_at(text: str) -> int:
    last = -1
    at = 0
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text[at] == '"':
            at = _closing_quote(text, at)
        elif text[at] == "@":
            last = at
        at += 1
    return last


def _unquoted(text: str) -> str:
    if '"' not in text and "\\" not in text:
        return text
    out: list[str] = []
    at = 0
    while at < len(text):
        if text[at] == "\\" and at + 1 < len(text):
            at += 1
            out.append(text[at])
        elif text[at] != '"':
            out.append(text[at])
        at += 1
    return "".join(out)
