"""A configuration directory becomes a `Configuration`; every problem is collected, the first one stops nothing.

Reads main.cf, master.cf and dovecot.conf (and what that includes). Called by master and by commands, never in a jail.
"""

import os
import pwd
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from posthouse.config import dovecotconf, interfaces, known, maincf, mastercf
from posthouse.config.configuration import Configuration, MasterEntry, Problem
from posthouse.config.maincf import Setting
from posthouse.config.parameter import DOVECOT, MAIN, BadValue, Settings
from posthouse.config.parameters.general import (
    INET_INTERFACES,
    INET_PROTOCOLS,
    MYNETWORKS_STYLE,
)
from posthouse.config.problems import check_dovecot, check_main, check_master

DEFAULT_DIRECTORY: Final = "/etc/posthouse"
DOVECOT_PREFIX: Final = "dovecot/"
"""`--set dovecot/NAME=VALUE` overrides a setting of dovecot.conf."""


def default_directory() -> str:
    """MAIL_CONFIG as Postfix's commands know it, else the fixed place."""
    return os.environ.get("MAIL_CONFIG") or DEFAULT_DIRECTORY


def load(directory: str, overrides: Mapping[str, str] | None = None) -> Configuration:
    """`overrides` are main.cf parameters that count more than the file (--set)."""
    known.complete()
    directory = str(Path(directory).absolute())
    problems: list[Problem] = []
    main = _main(directory, problems)
    master = _master(directory, problems)
    dovecot = _dovecot(directory, problems)
    for name, value in (overrides or {}).items():
        if name.startswith(DOVECOT_PREFIX):
            inner = name.removeprefix(DOVECOT_PREFIX)
            dovecot[inner] = Setting(inner, value, f"--set {name}")
        else:
            main[name] = Setting(name, value, f"--set {name}")
    main_settings = Settings(MAIN, {one.name: one.value for one in main.values()}, {"config_directory": directory})
    _compute_defaults(main_settings)
    dovecot_settings = Settings(DOVECOT, {one.name: one.value for one in dovecot.values()}, {})
    _users_of_dovecot(main_settings, dovecot, problems)
    check_main(main, main_settings, master, problems)
    check_master(master, main_settings, problems)
    check_dovecot(dovecot, problems)
    return Configuration(directory, main_settings, dovecot_settings, master, tuple(problems))


def _read(path: Path, problems: list[Problem], suggestion: str) -> str | None:
    try:
        return maincf.decode(path.read_bytes())
    except OSError as error:
        problems.append(Problem("error", str(path), f"cannot read it: {error.strerror}", suggestion))
        return None


def _main(directory: str, problems: list[Problem]) -> dict[str, Setting]:
    path = Path(directory, "main.cf")
    text = _read(path, problems, 'give the configuration directory with -c, or let "posthouse init" make one')
    return maincf.latest(maincf.parse(text or "", str(path), problems), problems)


def _master(directory: str, problems: list[Problem]) -> tuple[MasterEntry, ...]:
    path = Path(directory, "master.cf")
    text = _read(path, problems, 'let "posthouse init" make one')
    return mastercf.parse(text or "", str(path), problems)


def _dovecot(directory: str, problems: list[Problem]) -> dict[str, Setting]:
    path = Path(directory, "dovecot.conf")
    if not path.exists():
        return {}  # a system that only moves mail has none
    parser = dovecotconf.Parser(problems, default=dovecot_default)
    try:
        parser.parse_file(str(path))
    except OSError as error:
        problems.append(Problem("error", str(path), f"cannot read it: {error.strerror}"))
    return parser.settings


def dovecot_default(name: str) -> str | None:
    if name in DOVECOT.params:
        return DOVECOT.params[name].default
    return DOVECOT.known[name].default if name in DOVECOT.known else None


def _users_of_dovecot(settings: Settings, dovecot: Mapping[str, Setting], problems: list[Problem]) -> None:
    """default_login_user and default_internal_user count where main.cf says nothing, and where they do not give mail or
    queue to a process that strangers talk to."""
    for name, parameter, what in (
        ("default_login_user", "login_user", "what strangers talk to"),
        ("default_internal_user", "auth_user", "what checks their passwords"),
    ):
        setting = dovecot.get(name)
        if setting is None or parameter in settings.values:
            continue
        user = setting.value
        taken = {
            settings.raw_text(one): why
            for one, why in (("virtual_user", "owns the mail"), ("mail_owner", "owns the queue"))
        }
        if parameter == "auth_user":
            taken[settings.raw_text("login_user")] = "is login_user"
        try:
            refused = "must not be root" if pwd.getpwnam(user).pw_uid == 0 else taken.get(user, "")
        except KeyError:
            refused = "does not exist"
        if refused:
            problems.append(
                Problem(
                    "warning",
                    setting.at,
                    f"{name} = {user} is not used: that user {refused}, and {what} keeps a user of its own",
                    f"set {parameter} in main.cf",
                )
            )
        else:
            settings.extra_defaults[parameter] = user


def _compute_defaults(settings: Settings) -> None:
    """The defaults that depend on this host. A value that cannot be expanded is reported later, with its line."""
    defaults = settings.extra_defaults
    name = socket.gethostname() or "localhost"
    domain = settings.values.get("mydomain")
    if "." not in name:
        # Postfix completes a bare host name with $mydomain; without one with "localdomain".
        name = f"{name}.{domain or 'localdomain'}"
    defaults["myhostname"] = name
    try:
        host = settings.text("myhostname")
        _, dot, parent = host.partition(".")
        defaults["mydomain"] = parent if dot and parent else "localdomain"
        wanted, protocols = settings[INET_INTERFACES], settings[INET_PROTOCOLS]
        chosen = interfaces.select(interfaces.addresses(), wanted, protocols)
        defaults["mynetworks"] = interfaces.networks(chosen or interfaces.LOOPBACK, settings[MYNETWORKS_STYLE])
    except (BadValue, ValueError):
        defaults.setdefault("mydomain", "localdomain")
        defaults["mynetworks"] = interfaces.networks(interfaces.LOOPBACK, "host")
