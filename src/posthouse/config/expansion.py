"""The expression language of main.cf values.

`$name`, `$(name)`, `${name}`, `${name?text}`, `${name:text}`, `${name?{text}:{text}}`,
`${{text} operator {text} ? {text} : {text}}` and `$$`. Operators are == != < <= > >=, numeric when both sides are
numbers and textual otherwise, and the same six with "level" behind them, which compare versions such as 3.6.

One difference from Postfix: white space inside an unbraced `${name?text}` stays as written there, here too; inside
braces it is trimmed at both ends, as Postfix does.
"""

import operator
import re
from collections.abc import Callable
from typing import Any, Final

from posthouse.config.parameter import BadValue

Lookup = Callable[[str], str | None]

_NAME: Final = re.compile(r"[A-Za-z0-9_]+")
_OPERATOR: Final = re.compile(r"(==|!=|<=|>=|<|>)(level\b)?")
_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
MAXIMAL_DEPTH: Final = 64
"""No sane configuration nests deeper; a loop of names does."""
MAXIMAL_LENGTH: Final = 1_000_000
"""Names that double each other grow without a loop; no sane value is this long."""


def expand(value: str, lookup: Lookup, depth: int = 0) -> str:
    """`lookup` gives the unexpanded text of a name, or None. An unknown name expands to nothing, as in Postfix."""
    if "$" not in value:
        return value
    if depth > MAXIMAL_DEPTH:
        raise BadValue(f"parameters name each other in a circle: {value!r}")
    out: list[str] = []
    length = 0
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
            close = matching(value, dollar + 1)
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
        length += len(out[-1])
        if length > MAXIMAL_LENGTH:
            raise BadValue("the value becomes longer than any value may be")


def names_in(value: str) -> set[str]:
    """The names that a value may look up, at any depth of braces; for "is this parameter used anywhere"."""
    return set(re.findall(r"\$[{(]*\s*([A-Za-z0-9_]+)", value))


def matching(value: str, start: int) -> int:
    """The place of the brace that closes the one at `start`."""
    opening = value[start]
    closing = "}" if opening == "{" else ")"
    depth = 0
    for at in range(start, len(value)):
        depth += (value[at] == opening) - (value[at] == closing)
        if depth == 0:
            return at
    raise BadValue(f"'{opening}' without '{closing}' in {value!r}")


def _braced(inside: str, lookup: Lookup, depth: int) -> str:
    stripped = inside.lstrip()
    if stripped.startswith("{"):
        is_true, rest = _comparison(stripped, lookup, depth)
        if not rest:
            return "bool" if is_true else ""
        if not rest.startswith("?"):
            raise BadValue(f"'?' is expected after the comparison in '${{{inside}}}'")
        return _choose(is_true, rest, inside, lookup, depth)
    match = _NAME.match(stripped)
    if not match:
        raise BadValue(f"a parameter name is expected in '${{{inside}}}'")
    rest = stripped[match.end() :].strip()
    current = lookup(match[0]) or ""
    if not rest:
        return expand(current, lookup, depth + 1)
    if rest[0] not in "?:":
        raise BadValue(f"'?' or ':' is expected after {match[0]} in '${{{inside}}}'")
    # The text as it was set decides, before its own names are expanded; Postfix does the same.
    return _choose(bool(current), rest, inside, lookup, depth)


def _choose(is_true: bool, rest: str, inside: str, lookup: Lookup, depth: int) -> str:
    """`rest` begins with "?" (first text if true, second if not) or ":" (text if not true)."""
    sign, rest = rest[0], rest[1:].strip()
    second = ""
    if rest.startswith("{"):
        close = matching(rest, 0)
        first, tail = rest[1:close].strip(), rest[close + 1 :].strip()
        if tail.startswith(":") and sign == "?":
            tail = tail[1:].strip()
            second = tail[1:-1].strip() if tail.startswith("{") and matching(tail, 0) == len(tail) - 1 else tail
        elif tail:
            raise BadValue(f"unexpected text {tail!r} in '${{{inside}}}'")
    else:
        first = rest
    if sign == ":":
        first, second = "", first
    return expand(first if is_true else second, lookup, depth + 1)


def _comparison(text: str, lookup: Lookup, depth: int) -> tuple[bool, str]:
    """`{left} operator {right}` at the start of `text`; its truth, and what follows."""
    close = matching(text, 0)
    left, rest = text[1:close], text[close + 1 :].lstrip()
    match = _OPERATOR.match(rest)
    if not match:
        raise BadValue(f"one of == != < <= > >= is expected in {text!r}")
    rest = rest[match.end() :].lstrip()
    if not rest.startswith("{"):
        raise BadValue(f"'{{' is expected after '{match[0]}' in {text!r}")
    close = matching(rest, 0)
    sides = tuple(expand(one.strip(), lookup, depth + 1).strip() for one in (left, rest[1:close]))
    compare = _COMPARE[match[1]]
    if match[2]:
        is_true = compare(level(sides[0]), level(sides[1]))
    elif all(re.fullmatch(r"[0-9]{1,18}", side) for side in sides):
        is_true = compare(int(sides[0]), int(sides[1]))
    else:
        is_true = compare(*sides)
    return is_true, rest[close + 1 :].strip()


def level(text: str) -> tuple[int, int, int]:
    """A compatibility level or version: "2", "3.6", "3.6.1"."""
    match = re.fullmatch(r"([0-9]{1,6})(?:\.([0-9]{1,6}))?(?:\.([0-9]{1,6}))?", text)
    if not match:
        raise BadValue(f"a compatibility level such as 2 or 3.6 is expected, not {text!r}")
    return int(match[1]), int(match[2] or 0), int(match[3] or 0)
