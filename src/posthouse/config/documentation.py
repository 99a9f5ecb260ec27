"""The reference pages that are made from the registries: docs/parameters.md and docs/compatibility.md.

`python -m posthouse.config.documentation [DIRECTORY]` writes them (make docs); a test compares them with what is
committed.
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from posthouse.config import known, services
from posthouse.config.parameter import DOVECOT, MAIN, Param, Registry

HEADING: Final = "<!-- Made by `make docs` from the declarations in src/posthouse/config/parameters; do not edit. -->\n"


def parameters_page() -> str:
    known.complete()
    out = [
        HEADING,
        "# Parameters",
        "",
        "Every name of Postfix 3.7 and Dovecot 2.3 is in exactly one state here: it works, it is accepted and has no",
        "effect (with the reason), or it is not supported yet. `posthouse check` names each set parameter that is not",
        "in the first state.",
        "",
    ]
    for registry, names, peer in (
        (MAIN, known.postfix_names(), "Postfix"),
        (DOVECOT, known.dovecot_names(), "Dovecot"),
    ):
        out += [f"## {registry.language}", "", "### Works", ""]
        out += _works(registry, names, peer)
        out += ["", "### Accepted, no effect", ""]
        out += _by_reason(registry, known.NO_EFFECT)
        out += ["", "### Not supported yet", ""]
        out += ["Set to anything but its default, each of these is named and ignored.", ""]
        out += [", ".join(f"`{name}`" for name in _names(registry, known.NOT_SUPPORTED)) + ".", ""]
    return "\n".join(out).rstrip() + "\n"


def _works(registry: Registry, names: dict[str, str], peer: str) -> Iterable[str]:
    yield "| name | default | kind | what it does |"
    yield "| --- | --- | --- | --- |"
    for name in sorted(registry.params):
        param = registry.params[name]
        own = "" if name in names else " (Posthouse's own.)"
        if name in names and registry is MAIN and names[name] != param.default:
            own = f" ({peer}'s default: {_code(names[name])}.)"
        yield f"| `{name}` | {_code(param.default)} | {_cell(_kind(param))} | {_cell(param.doc)}{own} |"


def _kind(param: Param[object]) -> str:
    bounds = []
    if param.minimum is not None:
        bounds.append(f"≥ {param.minimum:g}")
    if param.maximum is not None:
        bounds.append(f"≤ {param.maximum:g}")
    return ", ".join([param.kind.name, *bounds])


def _by_reason(registry: Registry, state: str) -> Iterable[str]:
    reasons: dict[str, list[str]] = {}
    for one in registry.known.values():
        if one.state == state:
            reasons.setdefault(one.reason, []).append(one.name)
    for reason in sorted(reasons):
        yield f"- {reason[0].upper()}{reason[1:]}: " + ", ".join(f"`{name}`" for name in sorted(reasons[reason])) + "."


def _names(registry: Registry, state: str) -> list[str]:
    return sorted(one.name for one in registry.known.values() if one.state == state)


def _code(text: str) -> str:
    return f"`{_cell(text)}`" if text and "`" not in text else _cell(text)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def compatibility_page() -> str:
    known.complete()
    out = [
        HEADING,
        "# Compatibility in numbers",
        "",
        "How much of the two configuration languages is honoured. The names are in [parameters.md](parameters.md).",
        "",
        "| | names of the peer | work | accepted, no effect | not supported yet | our own |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for registry, names, peer in (
        (MAIN, known.postfix_names(), "main.cf (Postfix 3.7)"),
        (DOVECOT, known.dovecot_names(), "dovecot.conf (Dovecot 2.3)"),
    ):
        work = sum(1 for name in names if name in registry.params)
        own = len(registry.params) - work
        no_effect = len(_names(registry, known.NO_EFFECT))
        missing = len(_names(registry, known.NOT_SUPPORTED))
        out.append(f"| {peer} | {len(names)} | {work} | {no_effect} | {missing} | {own} |")
    out += [
        "",
        "## Services of master.cf",
        "",
        "Entries for these programs may stay as they are. Listeners of `smtpd` are opened as written; for the others",
        "nothing of their own is started, because a process that runs anyway provides them.",
        "",
        "| program | |",
        "| --- | --- |",
    ]
    out += [f"| `{program}` | provided inside `{process}` |" for program, process in sorted(services.PROVIDED.items())]
    out += [f"| `{program}` | not supported yet: {what} |" for program, what in sorted(services.NOT_SUPPORTED.items())]
    return "\n".join(out) + "\n"


PAGES: Final = {"parameters.md": parameters_page, "compatibility.md": compatibility_page}


def main() -> None:
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
    for name, page in PAGES.items():
        (directory / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
