"""regexp: and pcre: tables, compiled to Python's `re`.

Both kinds are translated before compiling (brackets with [:classes:], end-of-text anchors, named groups …). What
differs knowingly: POSIX asks for the longest of several alternatives, `re` takes the first (it matters only for $1…);
\\w, \\d and case folding know ASCII only; \\K, recursion, callouts and the ungreedy flag of PCRE are refused: such a
rule is skipped with a warning. Patterns are not limited in time, as in Postfix; who writes the table answers for it.
"""

import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from posthouse.tables.file import FileTable, read_source
from posthouse.tables.literal import split_list, unbraced
from posthouse.tables.source import Warn, logical_lines
from posthouse.tables.table import BadTable, Table

Translate = Callable[[str, str], tuple[str, int]]
"""Pattern and flag letters to a Python pattern and flags; BadTable for what cannot be said."""

_CLASSES: Final = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": "\\x00-\\x7f",
    "blank": " \\t",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "\\x21-\\x7e",
    "lower": "a-z",
    "print": "\\x20-\\x7e",
    "punct": "!-/:-@\\[-`{-~",
    "space": " \\t\\n\\r\\f\\v",
    "upper": "A-Z",
    "word": "\\w",
    "xdigit": "0-9A-Fa-f",
}
_SET_SPECIAL: Final = "\\[]^-&~|"


def bracket(pattern: str, at: int, *, backslash_escapes: bool) -> tuple[str, int]:
    """The bracket expression that opens at `at` as a Python set, and where the pattern goes on (POSIX XBD 9.3.5)."""
    out = ["["]
    at += 1
    if pattern[at : at + 1] == "^":
        out.append("^")
        at += 1
    first = True
    while at < len(pattern):
        character = pattern[at]
        if character == "]" and not first:
            return "".join(out) + "]", at + 1
        first = False
        if character == "[" and pattern[at + 1 : at + 2] == ":":
            end = pattern.find(":]", at + 2)
            name = pattern[at + 2 : end]
            if end < 0 or name not in _CLASSES:
                raise BadTable(f"unknown character class in {pattern!r}")
            out.append(_CLASSES[name])
            at = end + 2
        elif character == "[" and pattern[at + 1 : at + 2] in (".", "="):
            mark = pattern[at + 1]
            end = pattern.find(mark + "]", at + 2)
            if end != at + 3:
                raise BadTable(f"unknown collating element in {pattern!r}")
            out.append(_in_set(pattern[at + 2]))
            at = end + 2
        elif character == "\\" and backslash_escapes:
            piece, at = _pcre_escape(pattern, at, in_set=True)
            out.append(piece)
        elif character == "-" and len(out) > 1 and out[-1] != "^" and pattern[at + 1 : at + 2] not in ("]", ""):
            out.append("-")
            at += 1
        else:
            out.append(_in_set(character))
            at += 1
    raise BadTable(f"'[' without ']' in {pattern!r}")


def _in_set(character: str) -> str:
    return "\\" + character if character in _SET_SPECIAL else character


_PCRE_ESCAPES: Final = {
    "z": r"\Z",
    "Z": r"(?=\n?\Z)",
    "h": r"[ \t]",
    "H": r"[^ \t]",
    "R": r"(?:\r\n|[\n\r\f\v])",
    "N": r"[^\n]",
    "e": r"\x1b",
}
_PYTHON_ESCAPES: Final = frozenset("AbBdDsSwWafnrtvx0123456789")


def _pcre_escape(pattern: str, at: int, *, in_set: bool) -> tuple[str, int]:
    """What stands for the escape at `at`, and where the pattern goes on."""
    letter = pattern[at + 1 : at + 2]
    if not letter:
        raise BadTable(f"{pattern!r} ends with a backslash")
    if letter == "x" and pattern[at + 2 : at + 3] == "{":
        end = pattern.find("}", at)
        if end < 0:
            raise BadTable(f"'{{' without '}}' in {pattern!r}")
        try:
            character = chr(int(pattern[at + 3 : end], 16))
        except (ValueError, OverflowError) as error:
            raise BadTable(f"bad character number in {pattern!r}") from error
        return _in_set(character) if in_set else re.escape(character), end + 1
    if letter in _PYTHON_ESCAPES or (in_set and letter in "e"):
        return (r"\x1b" if letter == "e" else "\\" + letter), at + 2
    if not in_set and letter in _PCRE_ESCAPES:
        return _PCRE_ESCAPES[letter], at + 2
    if in_set and letter == "h":
        return r" \t", at + 2
    if letter.isalnum():
        raise BadTable(f"\\{letter} in {pattern!r} is not supported")
    return (_in_set(letter) if in_set else re.escape(letter)), at + 2


def translate_pcre(pattern: str, letters: str) -> tuple[str, int]:
    flags = re.ASCII | re.IGNORECASE | re.DOTALL
    for letter in letters:
        if letter == "A":
            pattern = rf"\A(?:{pattern})"
        elif letter == "E":
            continue
        elif letter in "imsx":
            flags ^= {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "x": re.VERBOSE}[letter]
        elif letter != "X":
            raise BadTable(f"unknown regexp option '{letter}'")
    end_only = "E" in letters and not flags & re.MULTILINE
    out: list[str] = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if character == "\\":
            if pattern.startswith("\\Q", at):
                end = pattern.find("\\E", at)
                end = len(pattern) if end < 0 else end
                out.append(re.escape(pattern[at + 2 : end]))
                at = end + 2
                continue
            piece, at = _pcre_escape(pattern, at, in_set=False)
        elif character == "[":
            piece, at = bracket(pattern, at, backslash_escapes=True)
        elif character == "(" and (
            match := re.compile(r"\(\?(?:<([A-Za-z_]\w*)>|'([A-Za-z_]\w*)')").match(pattern, at)
        ):
            piece, at = f"(?P<{match[1] or match[2]}>", match.end()
        elif character == "$" and end_only:
            piece, at = r"\Z", at + 1
        else:
            piece, at = character, at + 1
        out.append(piece)
    return "".join(out), flags


_GNU_ESCAPES: Final = {"<": r"\b(?=\w)", ">": r"\b(?<=\w)", "`": r"\A", "'": r"\Z"}


def translate_posix(pattern: str, letters: str) -> tuple[str, int]:
    flags = int(re.ASCII | re.IGNORECASE)
    extended, lines = True, False
    for letter in letters:
        if letter == "i":
            flags ^= re.IGNORECASE
        elif letter == "m":
            lines = not lines
        elif letter == "x":
            extended = not extended
        else:
            raise BadTable(f"unknown regexp option '{letter}'")
    flags |= re.MULTILINE if lines else re.DOTALL
    out: list[str] = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        if character == "[":
            piece, at = bracket(pattern, at, backslash_escapes=False)
            out.append(piece)
            continue
        at += 1
        if character == "\\":
            if at == len(pattern):
                raise BadTable(f"{pattern!r} ends with a backslash")
            letter = pattern[at]
            at += 1
            if letter in _GNU_ESCAPES:
                out.append(_GNU_ESCAPES[letter])
            elif letter in "wWbBsS" or (letter.isdigit() and letter != "0"):
                out.append("\\" + letter)
            elif not extended and letter in "(){}+?|":
                out.append(letter)
            else:
                out.append(re.escape(letter))
        elif character == "$" and not lines and (extended or at == len(pattern)):
            out.append(r"\Z")
        elif not extended and (character in "(){}+?|" or (character == "*" and not out)):
            out.append("\\" + character)
        else:
            out.append(character)
    return "".join(out), flags


def compile_pattern(pattern: str, letters: str, translate: Translate) -> re.Pattern[str]:
    text, flags = translate(pattern, letters)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return re.compile(text, flags)
    except (re.error, OverflowError, RecursionError, Warning) as error:
        raise BadTable(f"{error} in {pattern!r}") from error


@dataclass(frozen=True, slots=True)
class Condition:
    pattern: re.Pattern[str]
    negated: bool

    def holds(self, key: str) -> bool:
        return (self.pattern.search(key) is not None) != self.negated


@dataclass(frozen=True, slots=True)
class Rule:
    """`value` is literal text, or the pieces between numbers of groups."""

    condition: Condition
    value: tuple[str | int, ...]
    inside: tuple[Condition, ...]

    def answer(self, key: str) -> str | None:
        if not all(condition.holds(key) for condition in self.inside):
            return None
        match = self.condition.pattern.search(key)
        if (match is not None) == self.condition.negated:
            return None
        if match is None:
            return "".join(str(piece) for piece in self.value)
        return "".join((match[piece] or "") if isinstance(piece, int) else piece for piece in self.value)


_REFERENCE: Final = re.compile(r"\$(?:(\$)|([0-9]+)|\{([0-9]+)\}|\(([0-9]+)\))")


def parse_value(text: str, groups: int) -> tuple[str | int, ...]:
    """ "$1", "${1}", "$(1)" and "$$" in a result."""
    pieces: list[str | int] = []
    at = 0
    for match in _REFERENCE.finditer(text):
        pieces.append(text[at : match.start()])
        if match[1]:
            pieces.append("$")
        else:
            number = int(match[2] or match[3] or match[4])
            if number > groups:
                raise BadTable(f"out of range replacement index '{number}'")
            pieces.append(number)
        at = match.end()
    pieces.append(text[at:])
    return tuple(piece for piece in pieces if piece != "")


def split_pattern(text: str) -> tuple[bool, str, str, str]:
    """Negated, the pattern between its delimiters, flag letters, and what follows."""
    negated = False
    while text.startswith("!"):
        negated = not negated
        text = text[1:].lstrip()
    if not text:
        raise BadTable("no regular expression")
    delimiter = text[0]
    if delimiter.isalnum() or delimiter.isspace() or delimiter == "\\":
        raise BadTable(f"no regular expression: {text[:20]!r}")
    at = 1
    while at < len(text) and text[at] != delimiter:
        at += 2 if text[at] == "\\" else 1
    if at >= len(text):
        raise BadTable(f"no closing regexp delimiter '{delimiter}'")
    flags = re.compile(r"[A-Za-z]*").match(text, at + 1)
    assert flags is not None
    pattern = text[1:at]
    if delimiter not in "\\^$.|?*+()[]{}":
        pattern = pattern.replace("\\" + delimiter, delimiter)
    return negated, pattern, flags[0], text[flags.end() :].strip()


def parse_rules(lines: Sequence[tuple[int, str]], translate: Translate, where: str, warn: Warn) -> list[Rule]:
    rules: list[Rule] = []
    conditions: list[Condition] = []
    for number, untrimmed in lines:
        line = untrimmed.strip()
        try:
            if re.match(r"if\s*[!/]|if\s+\S", line, re.IGNORECASE):
                # A condition that does not compile holds for nothing, so that its block is not used at random.
                conditions.append(Condition(re.compile(r"(?!)"), negated=False))
                negated, pattern, letters, rest = split_pattern(line[2:].strip())
                if rest:
                    raise BadTable(f"unexpected text after the pattern: {rest!r}")
                conditions[-1] = Condition(compile_pattern(pattern, letters, translate), negated)
            elif line.lower() == "endif":
                if not conditions:
                    raise BadTable("ignoring ENDIF without matching IF")
                conditions.pop()
            else:
                negated, pattern, letters, value = split_pattern(line)
                compiled = compile_pattern(pattern, letters, translate)
                groups = 0 if negated else compiled.groups
                rules.append(Rule(Condition(compiled, negated), parse_value(value, groups), tuple(conditions)))
        except BadTable as error:
            warn(f"{where}, line {number}: {error}: skipping this rule")
    if conditions:
        warn(f"{where}: {len(conditions)} IF without matching ENDIF")
    return rules


def first_answer(rules: Sequence[Rule], key: str) -> str | None:
    for rule in rules:
        if (value := rule.answer(key)) is not None:
            return value
    return None


class PatternTable(FileTable[list[Rule]]):
    """regexp:/file and pcre:/file."""

    fixed = False

    def __init__(self, name: str, path: str, now: Callable[[], float], warn: Warn, translate: Translate) -> None:
        super().__init__(name, path, now, warn)
        self._translate = translate

    def make(self, path: str) -> list[Rule]:
        return parse_rules(list(logical_lines(read_source(path))), self._translate, f"{self.name}", self.warn)

    def lookup(self, key: str) -> str | None:
        return first_answer(self.content(), key)


class InlinePatternTable(Table):
    """regexp:{ {/pattern/ result}, … }."""

    fixed = False

    def __init__(self, name: str, specification: str, warn: Warn, translate: Translate) -> None:
        super().__init__(name)
        lines = [(number, unbraced(word)) for number, word in enumerate(split_list(specification[1:-1]), start=1)]
        self._rules = parse_rules(lines, translate, name, warn)

    def lookup(self, key: str) -> str | None:
        return first_answer(self._rules, key)
