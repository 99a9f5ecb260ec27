"""Every parameter of Postfix 3.7 and setting of Dovecot 2.3 that nobody declared, in exactly one state.

The names and their defaults are data (data/postfix-parameters.txt, data/dovecot-settings.txt). A name that an area
declares as a `Param` works; of the rest, those in data/no-effect.tsv need nothing done, for the reason given there; all
others are not supported, and are named wherever somebody sets them.
"""

import re
from functools import cache
from importlib import resources
from typing import Final

from posthouse.config.parameter import DOVECOT, MAIN, Known, Registry

NO_EFFECT: Final = "no effect"
NOT_SUPPORTED: Final = "not supported"


@cache
def _rules(language: str) -> tuple[tuple[re.Pattern[str], str], ...]:
    rules: list[tuple[re.Pattern[str], str]] = []
    for line in _data("no-effect.tsv").splitlines():
        if line and not line.startswith("#"):
            of, pattern, reason = line.split("\t")
            if of == language:
                rules.append((re.compile(rf"(?:{pattern})\Z"), reason))
    return tuple(rules)


def _data(name: str) -> str:
    return resources.files("posthouse").joinpath(f"data/{name}").read_text("utf-8")


def parse_names(text: str) -> dict[str, str]:
    """Names and defaults of a data file."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, default = line.partition("=")
            found[name.strip()] = default.strip()
    return found


@cache
def postfix_names() -> dict[str, str]:
    return parse_names(_data("postfix-parameters.txt"))


@cache
def dovecot_names() -> dict[str, str]:
    return parse_names(_data("dovecot-settings.txt"))


def state_of(language: str, name: str, default: str) -> Known:
    for pattern, reason in _rules(language):
        if pattern.match(name):
            return Known(name, default, NO_EFFECT, reason)
    return Known(name, default, NOT_SUPPORTED, "not supported yet")


def complete() -> None:
    """Add all names that no area declared to both registries; may be called any number of times, after the areas."""
    import posthouse.config.parameters  # noqa: F401  # the declarations

    for registry, names in ((MAIN, postfix_names()), (DOVECOT, dovecot_names())):
        for name, default in names.items():
            if name not in registry.params and name not in registry.known:
                registry.know(state_of(registry.language, name, default))


def find(registry: Registry, name: str) -> str | None:
    """The declared or known name that a setting of a file means: itself, or a pattern with "*" for block names, or what
    is left when the blocks `protocol X`, `local X`, `local_name X` and `remote X` around it are taken away."""
    while True:
        if name in registry.params or name in registry.known:
            return name
        if "/" not in name:
            return None
        segments = name.split("/")
        best: str | None = None
        for candidate in _patterns(registry).get(len(segments), ()):
            parts = candidate.split("/")
            if all(part in ("*", segment) for part, segment in zip(parts, segments, strict=True)) and (
                best is None or candidate.count("*") < best.count("*")
            ):
                best = candidate
        if best is not None:
            return best
        if segments[0] not in ("protocol", "local", "local_name", "remote") or len(segments) < 3:
            return None
        name = "/".join(segments[2:])


def _patterns(registry: Registry) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for name in registry.names():
        if "*" in name:
            found.setdefault(name.count("/") + 1, []).append(name)
    return found
