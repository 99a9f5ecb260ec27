"""What is wrong with settings that could be read: unknown names, bad values, names we do not honour.

Each problem says where it is and what to do instead. Errors keep the system from starting; warnings name what will not
happen although somebody asked for it.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Final

from posthouse.config import known
from posthouse.config.configuration import MasterEntry, Problem
from posthouse.config.expansion import names_in
from posthouse.config.maincf import Setting
from posthouse.config.parameter import DOVECOT, MAIN, BadValue, Registry, Settings
from posthouse.config.parameters.auth import AUTH_MECHANISMS, can_check_tokens
from posthouse.config.services import (
    NOT_SUPPORTED,
    PROVIDED,
    TRANSPORT_COMMANDS,
    TRANSPORT_SUFFIXES,
)
from posthouse.protocol.sasl.known import SERVER_MECHANISMS, TOKEN_MECHANISMS

_CLOSE: Final = 0.75
"""How alike two names must be for one to be suggested for the other."""
_TABLE_SOURCE: Final = re.compile(r"\b(?:ldap|mysql|pgsql|sqlite|memcache):([A-Za-z][A-Za-z0-9_]*)")


def nearest(name: str, names: Iterable[str]) -> str:
    """A suggestion for a name nobody knows; "" if none is alike."""
    found = difflib.get_close_matches(name.lower(), names, n=1, cutoff=_CLOSE)
    return f"did you mean {found[0]}?" if found else ""


def check_main(
    main: Mapping[str, Setting], settings: Settings, master: Iterable[MasterEntry], problems: list[Problem]
) -> None:
    used = _used_names(settings, master)
    for setting in main.values():
        _check_setting(setting, settings, used, problems)
    for name in MAIN.params:
        if name not in main:
            _check_value(name, settings, f"default of {name}", problems)


def check_master(master: Iterable[MasterEntry], settings: Settings, problems: list[Problem]) -> None:
    for entry in master:
        if entry.command in NOT_SUPPORTED:
            problems.append(
                Problem(
                    "warning",
                    entry.at,
                    f"{entry.endpoint}: {entry.command} is not supported yet",
                    NOT_SUPPORTED[entry.command],
                )
            )
        elif entry.command not in PROVIDED:
            problems.append(
                Problem(
                    "error",
                    entry.at,
                    f"{entry.endpoint}: there is no service program {entry.command}",
                    nearest(entry.command, [*PROVIDED, *NOT_SUPPORTED]),
                )
            )
        if not entry.options:
            continue
        overlaid = settings.overlay({**entry.options, "service_name": entry.endpoint})
        used = names_of_options(entry)
        for name, value in entry.options.items():
            _check_setting(Setting(name, value, entry.at), overlaid, used, problems, owner=f"{entry.endpoint}: -o ")


def check_dovecot(dovecot: Mapping[str, Setting], problems: list[Problem]) -> None:
    for setting in dovecot.values():
        name = known.find(DOVECOT, setting.name)
        shown = setting.name.replace("\\s", "/")
        if name is None:
            last = setting.name.rpartition("/")[2]
            candidates = [one.rpartition("/")[2] for one in DOVECOT.names()]
            problems.append(Problem("error", setting.at, f"unknown setting {shown}", nearest(last, candidates)))
        elif name in DOVECOT.known:
            _name_known(DOVECOT, name, Setting(shown, setting.value, setting.at), problems)
        else:
            param = DOVECOT.params[name]
            try:
                param.parse(setting.value)
            except BadValue as error:
                problems.append(Problem("error", setting.at, f"{shown} = {setting.value}: {error}"))
    if (mechanisms := dovecot.get(AUTH_MECHANISMS.name)) is not None:
        _check_mechanisms(mechanisms, dovecot, problems)


def _check_mechanisms(setting: Setting, dovecot: Mapping[str, Setting], problems: list[Problem]) -> None:
    names = [word.upper() for word in re.split(r"[\s,]+", setting.value) if word]
    for name in names:
        if name not in SERVER_MECHANISMS:
            problems.append(
                Problem(
                    "warning",
                    setting.at,
                    f"auth_mechanisms: {name.lower()} is not supported and not offered",
                    nearest(name.lower(), [one.lower() for one in SERVER_MECHANISMS]),
                )
            )
    values = {one.name: one.value for one in dovecot.values()}
    tokens = sorted(TOKEN_MECHANISMS.intersection(names))
    if tokens and not can_check_tokens(Settings(DOVECOT, values, {})):
        words = f"auth_mechanisms: {', '.join(tokens).lower()} need a passdb with driver = oauth2, and are not offered"
        problems.append(Problem("warning", setting.at, words))


def names_of_options(entry: MasterEntry) -> set[str]:
    used: set[str] = set()
    for text in (*entry.options.values(), *entry.arguments):
        used |= names_in(text)
    return used


def _used_names(settings: Settings, master: Iterable[MasterEntry]) -> set[str]:
    """Names of the administrator's own that something refers to: `$name`, restriction classes, table sources whose
    parameters stand in main.cf, and parameters of transports."""
    used: set[str] = {"service_name", "stress", "process_name", "process_id"}
    for value in settings.values.values():
        used |= names_in(value)
        used |= {f"{source}_*" for source in _TABLE_SOURCE.findall(value)}
    used |= set(re.split(r"[\s,]+", settings.values.get("smtpd_restriction_classes", "")))
    for entry in master:
        used |= names_of_options(entry)
        if entry.command in TRANSPORT_COMMANDS:
            used |= {f"{entry.endpoint}_{suffix}" for suffix in TRANSPORT_SUFFIXES}
    return used


def _check_setting(
    setting: Setting, settings: Settings, used: set[str], problems: list[Problem], owner: str = ""
) -> None:
    name = setting.name
    if name in MAIN.params:
        _check_value(name, settings, setting.at, problems, owner)
    elif name in MAIN.known:
        _name_known(MAIN, name, setting, problems, owner)
        _check_expansion(name, settings, setting.at, problems, owner)
    elif name in used or any(name.startswith(one[:-1]) for one in used if one.endswith("_*")):
        _check_expansion(name, settings, setting.at, problems, owner)
    else:
        problems.append(
            Problem(
                "warning", setting.at, f"{owner}unused parameter: {name}={setting.value}", nearest(name, MAIN.names())
            )
        )


def _check_value(name: str, settings: Settings, at: str, problems: list[Problem], owner: str = "") -> None:
    try:
        MAIN.params[name].parse(settings.text(name))
    except BadValue as error:
        shown = settings.raw_text(name)
        problems.append(Problem("error", at, f"{owner}{name} = {shown}: {error}"))


def _check_expansion(name: str, settings: Settings, at: str, problems: list[Problem], owner: str) -> None:
    try:
        settings.text(name)
    except BadValue as error:
        problems.append(Problem("error", at, f"{owner}{name} = {settings.values[name]}: {error}"))


def _name_known(registry: Registry, name: str, setting: Setting, problems: list[Problem], owner: str = "") -> None:
    one = registry.known[name]
    if one.state == known.NO_EFFECT:
        what, suggestion = f"{owner}{setting.name} has no effect here: {one.reason}", ""
    elif setting.value == one.default:
        return  # set to what happens anyway
    else:
        what = f"{owner}{setting.name} is not supported yet; {setting.value!r} is ignored"
        suggestion = "remove it, or see docs/parameters.md for what there is"
    problems.append(Problem("warning", setting.at, what, suggestion))
