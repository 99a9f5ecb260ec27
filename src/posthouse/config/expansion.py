"""`$name`, `${name}`, `${name?text}`, `${name:text}`, `${name?{text}:{text}}` and `$$` in main.cf values.

todo: the full expression language (comparisons) comes with the rest of Postfix's surface.
"""

import re
from collections.abc import Callable
from typing import Final

from posthouse.config.parameter import BadValue

_NAME: Final = re.compile(r"[A-Za-z0-9_]+")
MAXIMAL_DEPTH: Final = 64
"""No sane configuration nests deeper; a loop of names does."""


def expand(value: str, lookup: Callable[[str], str | None], depth: int = 0) -> str:
    """`lookup` gives the unexpanded text of a name, or None. An unknown name expands to nothing, as in Postfix."""
    if "$" not in value:
        return value
    if depth > MAXIMAL_DEPTH:
        raise BadValue(f"parameters name each other in a circle: {value!r}")
    out: list[str] = []
    at = 0
    while True:
        dollar = value.find("$", at)
        if dollar < 0 or dollar == len(value) - 1:
            out.append(value[at:])
            return "".join(out)
        out.append(value[at:dollar])
        follows = value[dollar + 1]
        if follows == "$":
            out.append("$")
            at = dollar + 2
        elif follows in "{(":
            close = _matching(value, dollar + 1)
            out.append(_braced(value[dollar + 2 : close], lookup, depth))
            at = close + 1
        else:
            match = _NAME.match(value, dollar + 1)
            if not match:
                out.append("$")
                at = dollar + 1
                continue
            out.append(expand(lookup(match[0]) or "", lookup, depth + 1))
            at = match.end()


def _matching(value: str, start: int) -> int:
    opening = value[start]
    closing = "}" if opening == "{" else ")"
    depth = 0
    for at in range(start, len(value)):
        depth += (value[at] == opening) - (value[at] == closing)
        if depth == 0:
            return at
    raise BadValue(f"'{opening}' without '{closing}' in {value!r}")


def _braced(inside: str, lookup: Callable[[str], str | None], depth: int) -> str:
    match = _NAME.match(inside.lstrip())
    if not match:
        raise BadValue(f"a parameter name is expected in '${{{inside}}}'")
    stripped = inside.lstrip()
    rest = stripped[match.end() :].strip()
    current = lookup(match[0]) or ""
    if not rest:
        return expand(current, lookup, depth + 1)
    is_set = bool(expand(current, lookup, depth + 1))
    operator, rest = rest[0], rest[1:].strip()
    if operator not in "?:":
        raise BadValue(f"'?' or ':' is expected after {match[0]} in '${{{inside}}}'")
    if rest.startswith("{"):
        close = _matching(rest, 0)
        first, tail = rest[1:close], rest[close + 1 :].strip()
        second = None
        if tail.startswith(":") and operator == "?":
            tail = tail[1:].strip()
            second = tail[1:-1] if tail.startswith("{") and tail.endswith("}") else tail
        elif tail:
            raise BadValue(f"unexpected text {tail!r} in '${{{inside}}}'")
    else:
        first, second = rest, None
    if operator == "?":
        chosen = first if is_set else (second or "")
    else:
        chosen = "" if is_set else first
    return expand(chosen.strip() if rest.startswith("{") else chosen, lookup, depth + 1)
