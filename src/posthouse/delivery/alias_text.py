"""The right-hand side of an alias or a line of .forward, as values (aliases(5)).

Items are separated by commas; each is an address, "|command", "/file/name" or ":include:/file/name". Double quotes
around an item keep commas and spaces in it; a backslash takes the next character as it is; parentheses are comments.
"""

import enum
from typing import Final

import msgspec

MAX_ITEMS: Final = 100_000
"""An alias with more targets is a mistake; a list of that size is kept by a list manager."""


class ItemKind(enum.Enum):
    ADDRESS = "address"
    COMMAND = "command"
    FILE = "file"
    INCLUDE = "include"


class AliasItem(msgspec.Struct, frozen=True):
    """`text` without the mark that tells the kind: the address, the command, the path."""

    kind: ItemKind
    text: str


def parse_alias_text(value: str) -> list[AliasItem]:
    """All items in order. Never raises: what cannot be understood is left to the address parser and bounces there."""
    items: list[AliasItem] = []
    for word in _split(value):
        if len(items) >= MAX_ITEMS:
            break
        if word.startswith("|"):
            if command := word[1:].strip():
                items.append(AliasItem(ItemKind.COMMAND, command))
        elif word.startswith("/"):
            items.append(AliasItem(ItemKind.FILE, word))
        elif word[:9].lower() == ":include:":
            if path := word[9:].strip():
                items.append(AliasItem(ItemKind.INCLUDE, path))
        elif address := _bare_address(word):
            items.append(AliasItem(ItemKind.ADDRESS, address))
    return items


def _split(value: str) -> list[str]:
    """At commas and line ends outside quotes, angle brackets and comments."""
    words: list[str] = []
    word: list[str] = []
    quoted = False
    depth = 0
    position = 0
    while position < len(value):
        character = value[position]
        position += 1
        if character == "\\" and position < len(value) and not depth:
            following = value[position]
            position += 1
            # Inside a quoted command the shell wants its backslashes; elsewhere they only protect.
            word.append(f"\\{following}" if quoted and following not in '"\\' else following)
        elif quoted:
            if character == '"':
                quoted = False
            else:
                word.append(character)
        elif depth:
            depth += (character == "(") - (character == ")")
        elif character == '"':
            quoted = True
        elif character == "(":
            depth = 1
        elif character in ",\r\n":
            words.append("".join(word).strip())
            word = []
        else:
            word.append(character)
    words.append("".join(word).strip())
    return [one for one in words if one]


def _bare_address(word: str) -> str:
    """`Name <address>` names the address in the brackets; white space inside an address does not count."""
    start, end = word.rfind("<"), word.rfind(">")
    if 0 <= start < end:
        word = word[start + 1 : end]
    return "".join(word.split())
