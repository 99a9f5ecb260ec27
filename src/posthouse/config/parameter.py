"""A parameter, declared once: name, kind, default, bounds, one sentence. Everything else is generated.

`declare` puts it into the registry of its language (main.cf or dovecot.conf) and refuses, at import time, duplicates,
empty documentation and defaults that do not parse. Code reads a value with `settings[PARAM]`, and mypy knows its type.
Values are text until `Settings` expands and parses them, so that every layer (file, -o override, --set) is text too.
"""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class BadValue(ValueError):
    """A value that its kind refuses; the text says what would be accepted."""


@dataclass(frozen=True, slots=True)
class Kind(Generic[T_co]):
    """How the text of a value becomes a value: `parse` raises `BadValue`. `name` appears in the reference page."""

    name: str
    parse: Callable[[str], T_co]


def _parse_integer(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]+", text):
        raise BadValue(f"a whole number is expected, not {text!r}")
    return int(text)


def _parse_boolean(text: str) -> bool:
    if text.lower() in ("yes", "true"):
        return True
    if text.lower() in ("no", "false"):
        return False
    raise BadValue(f'"yes" or "no" is expected, not {text!r}')


_UNITS: Final = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_UNIT_WORDS: Final = {"msec": "ms", "sec": "s", "min": "m", "hour": "h", "day": "d", "week": "w", "ms": "ms"}
"""Dovecot's words, with or without a plural s and with white space before them."""


def duration_of(unit: str) -> Kind[float]:
    """A time: a number with s, m, h, d or w; without a letter it is in `unit`."""

    def parse(text: str) -> float:
        match = re.fullmatch(
            r"([0-9]+(?:\.[0-9]+)?)(?:([smhdw]?)|\s*(msec|sec|min|hour|day|week|ms)s?)", text, re.IGNORECASE
        )
        if not match:
            raise BadValue(f"a time such as 30s, 5m, 1h or 2d is expected, not {text!r}")
        if match[3]:
            return float(match[1]) * _UNITS[_UNIT_WORDS[match[3].lower()]]
        return float(match[1]) * _UNITS[(match[2] or "").lower() or unit]

    return Kind(f"time (default unit: {unit})", parse)


def _parse_words(text: str) -> tuple[str, ...]:
    """A list separated by commas and white space; text in {braces} stays together (braces kept)."""
    words: list[str] = []
    depth = 0
    word = ""
    for character in text:
        if depth == 0 and (character in ", \t\r\n"):
            if word:
                words.append(word)
                word = ""
            continue
        depth += (character == "{") - (character == "}")
        if depth < 0:
            raise BadValue(f"'}}' without '{{' in {text!r}")
        word += character
    if depth:
        raise BadValue(f"'{{' without '}}' in {text!r}")
    if word:
        words.append(word)
    return tuple(words)


def one_of(*choices: str) -> Kind[str]:
    def parse(text: str) -> str:
        for choice in choices:
            if text.lower() == choice.lower():
                return choice
        named = ", ".join(choice for choice in choices if choice)
        raise BadValue(f"one of {named} is expected, not {text!r}")

    return Kind(" | ".join(choices), parse)


def _parse_mode(text: str) -> int:
    if not re.fullmatch(r"0?[0-7]{3,4}", text):
        raise BadValue(f"file permissions in octal, such as 0660, are expected, not {text!r}")
    return int(text, 8)


_SIZE_UNITS: Final = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def _parse_size(text: str) -> int:
    match = re.fullmatch(r"([0-9]+)\s*([bkmgtBKMGT]?)[bB]?", text)
    if not match:
        raise BadValue(f"a size such as 10240000, 500k or 50M is expected, not {text!r}")
    return int(match[1]) * _SIZE_UNITS[match[2].lower()]


integer: Final = Kind("integer", _parse_integer)
boolean: Final = Kind("yes | no", _parse_boolean)
duration: Final = duration_of("s")
text: Final = Kind("text", str)
verbatim: Final = Kind("text with its blanks", str)
words: Final = Kind("list", _parse_words)
mode: Final = Kind("octal permissions", _parse_mode)
size: Final = Kind("size in octets", _parse_size)


@dataclass(frozen=True, slots=True)
class Param(Generic[T_co]):
    """`default` is text in the parameter's own language and may name other parameters ("$myhostname").

    `raw` keeps `$name` unexpanded for parameters whose value is expanded later, per use (smtpd_banner at greeting
    time is expanded at once; forward_path and mailbox_command are not).
    """

    name: str
    kind: Kind[T_co]
    default: str
    doc: str
    minimum: float | None = None
    maximum: float | None = None
    raw: bool = False

    def parse(self, value: str) -> T_co:
        """`value` is already expanded. Raises BadValue, with what would be accepted."""
        parsed = self.kind.parse(value if self.kind is verbatim else value.strip())
        if isinstance(parsed, int | float) and not isinstance(parsed, bool):
            if self.minimum is not None and parsed < self.minimum:
                raise BadValue(f"at least {self.minimum:g} is required, not {value!r}")
            if self.maximum is not None and parsed > self.maximum:
                raise BadValue(f"at most {self.maximum:g} is allowed, not {value!r}")
        return parsed


@dataclass(frozen=True, slots=True)
class Known:
    """A parameter of Postfix or Dovecot that we know by name but that does not work (yet)."""

    name: str
    default: str
    state: str
    """"no effect" (accepted; `reason` says why nothing needs doing) or "not supported" (reported when set)."""
    reason: str


@dataclass(slots=True)
class Registry:
    """All names of one configuration language, each in exactly one state."""

    language: str
    params: dict[str, Param[object]] = field(default_factory=dict)
    known: dict[str, Known] = field(default_factory=dict)

    def declare(self, param: Param[T]) -> Param[T]:
        if param.name in self.params or param.name in self.known:
            raise ValueError(f"{self.language}: {param.name} is declared twice")
        if not param.doc.strip() or not param.doc.rstrip().endswith("."):
            raise ValueError(f"{self.language}: {param.name} needs a sentence of documentation")
        if "$" not in param.default and not param.raw:
            param.parse(param.default)
        self.params[param.name] = param
        return param

    def know(self, known: Known) -> None:
        if known.name in self.params or known.name in self.known:
            raise ValueError(f"{self.language}: {known.name} is declared twice")
        self.known[known.name] = known

    def names(self) -> Iterator[str]:
        yield from self.params
        yield from self.known


MAIN: Final = Registry("main.cf")
DOVECOT: Final = Registry("dovecot.conf")


def declare(param: Param[T]) -> Param[T]:
    """Declare a main.cf parameter."""
    return MAIN.declare(param)


def declare_dovecot(param: Param[T]) -> Param[T]:
    """Declare a dovecot.conf setting; nested blocks are flattened with "/" as in "service/auth/client_limit"."""
    return DOVECOT.declare(param)


class Settings:
    """The values of one language at one moment: explicit text over defaults, expanded and parsed once, on first use.

    `overlay` gives a copy with more text on top: the -o options of one master.cf entry.
    """

    def __init__(self, registry: Registry, values: Mapping[str, str], extra_defaults: Mapping[str, str]) -> None:
        self.registry = registry
        self.values: dict[str, str] = dict(values)
        """Explicit text by name, as in the file (not expanded). Picklable: this is what travels to children."""
        self.extra_defaults: dict[str, str] = dict(extra_defaults)
        """Defaults that are computed at start: myhostname, mydomain, config_directory …"""
        self._parsed: dict[str, object] = {}

    def __getitem__(self, param: Param[T]) -> T:
        try:
            return self._parsed[param.name]  # type: ignore[return-value]  # keyed by name, typed by declaration
        except KeyError:
            pass
        value = param.parse(self.text(param.name))
        self._parsed[param.name] = value
        return value

    def text(self, name: str) -> str:
        """The expanded text of a parameter (main.cf language: config.expansion); raises BadValue on a loop."""
        from posthouse.config.expansion import expand

        param = self.registry.params.get(name)
        raw = self.raw_text(name)
        if self.registry is DOVECOT:
            return raw  # `$name` was replaced where it stood, by the parser, as Dovecot does
        return raw if param is not None and param.raw else expand(raw, self.raw_text_or_none)

    def raw_text(self, name: str) -> str:
        found = self.raw_text_or_none(name)
        if found is None:
            raise KeyError(name)
        return found

    def raw_text_or_none(self, name: str) -> str | None:
        """Explicit text, else computed default, else declared default; None for a name nobody knows."""
        if name in self.values:
            return self.values[name]
        if name in self.extra_defaults:
            return self.extra_defaults[name]
        if name in self.registry.params:
            return self.registry.params[name].default
        if name in self.registry.known:
            return self.registry.known[name].default
        return None

    def parse_everything(self) -> None:
        """In the process that others are forked from, so that they share the values and need not parse them once each.
        A value that cannot be parsed is left to whoever asks for it."""
        for param in self.registry.params.values():
            with contextlib.suppress(BadValue):
                self[param]

    def overlay(self, values: Mapping[str, str]) -> "Settings":
        return Settings(self.registry, {**self.values, **values}, self.extra_defaults)
