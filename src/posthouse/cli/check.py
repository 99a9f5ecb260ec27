"""NAME
    posthouse check - name everything that is wrong with a configuration
SYNOPSIS
    posthouse check [-c DIR]
DESCRIPTION
    Reads main.cf, master.cf and dovecot.conf and prints every problem on a line of its own:
    "file:line: error: what; what to do". Errors keep the system from starting (start prints the same lines);
    warnings name what was asked for and will not happen: parameters without effect here or not supported yet, map types
    and restrictions we do not have, files and directories that are missing or open to the wrong people.
DIAGNOSTICS
    Status 0 without errors, 1 with.
"""

import os
import pwd
import stat
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from posthouse.auth.database_url import settings_of_url
from posthouse.auth.databases.lookup import BadDatabase
from posthouse.auth.opening import file_of
from posthouse.auth.server_directory import driver_of
from posthouse.config import maincf
from posthouse.config.configuration import Configuration, Problem
from posthouse.config.loading import load
from posthouse.config.parameter import BadValue, Settings
from posthouse.config.parameters.auth import DIRECTORY_DATABASE
from posthouse.config.parameters.general import DATA_DIRECTORY, QUEUE_DIRECTORY
from posthouse.config.problems import nearest
from posthouse.policy import unsupported_restrictions
from posthouse.policy.lists import DEFAULT_PROTECTION, KNOWN, is_open_relay
from posthouse.services.table import PROCESSES
from posthouse.tables.support import table_files, unsupported_tables

_KEY_SUFFIXES: Final = ("_tls_key_file", "_tls_eckey_file", "_tls_dkey_file", "_tls_chain_files")
_CERTIFICATE_SUFFIXES: Final = ("_tls_cert_file", "_tls_eccert_file", "_tls_dcert_file", "_tls_CAfile", "_tls_CApath")
INIT: Final = '"posthouse init" makes it'


def run(configuration_directory: str) -> int:
    found = problems(configuration_directory)
    for problem in found:
        print(problem)
    return 1 if any(problem.severity == "error" for problem in found) else 0


def problems(configuration_directory: str, overrides: Mapping[str, str] | None = None) -> list[Problem]:
    """Everything that is wrong, in the order of the files."""
    configuration = load(configuration_directory, overrides)
    places = _places(configuration, overrides or {})
    found = list(configuration.problems)
    try:
        found += _tables(configuration.main, places)
        found += _restrictions(configuration, places)
        found += _certificates(configuration, places)
        found += _directories(configuration, places)
        found += _directory_server(configuration, places)
        found += _users(configuration.main, places)
    except BadValue:
        pass  # a value these checks need is among the problems already
    return found


def _places(configuration: Configuration, overrides: Mapping[str, str]) -> dict[str, str]:
    """Where each set parameter of main.cf stands."""
    path = Path(configuration.directory, "main.cf")
    try:
        text = maincf.decode(path.read_bytes())
    except OSError:
        text = ""
    places = {one.name: one.at for one in maincf.parse(text, str(path), [])}
    return places | {name: f"--set {name}" for name in overrides}


def _at(name: str, places: Mapping[str, str]) -> str:
    return places.get(name, f"default of {name}")


def _tables(settings: Settings, places: Mapping[str, str]) -> Iterator[Problem]:
    for name, table in unsupported_tables(settings):
        yield Problem(
            "warning",
            _at(name, places),
            f"{name}: there is no table type for {table!r}; every look-up in it fails temporarily",
            '"postconf -m" lists the types',
        )
    missing = [path for path in table_files(settings) if not Path(path).exists()]
    for name, value in settings.values.items():
        for path in [one for one in missing if one.removesuffix(".lmdb") in value]:
            yield Problem(
                "warning", _at(name, places), f"{name}: {path} does not exist; every look-up in it fails temporarily"
            )


def _restrictions(configuration: Configuration, places: Mapping[str, str]) -> Iterator[Problem]:
    settings = configuration.main
    named = set(unsupported_restrictions(settings))
    for name, word in sorted(named):
        yield _restriction(name, word, _at(name, places))
    if is_open_relay(settings):
        yield Problem(
            "warning",
            _at("smtpd_relay_restrictions", places),
            "neither smtpd_relay_restrictions nor smtpd_recipient_restrictions says who may relay",
            f"until then this holds: {', '.join(DEFAULT_PROTECTION)}",
        )
    for entry in configuration.master:
        if entry.options:
            for name, word in unsupported_restrictions(settings.overlay(entry.options)):
                if (name, word) not in named:
                    yield _restriction(f"{entry.endpoint}: -o {name}", word, entry.at)


def _restriction(name: str, word: str, at: str) -> Problem:
    what = f"{name}: the restriction {word} is not supported; mail that reaches it is answered 451 4.3.5"
    return Problem("warning", at, what, nearest(word, KNOWN))


def _certificates(configuration: Configuration, places: Mapping[str, str]) -> Iterator[Problem]:
    settings = configuration.main
    for name in settings.values:
        if name in settings.registry.params and name.endswith(_KEY_SUFFIXES + _CERTIFICATE_SUFFIXES):
            for path in settings.text(name).replace(",", " ").split():
                if path != "none":
                    yield from _file(path, _at(name, places), name, is_secret=name.endswith(_KEY_SUFFIXES))
    for name, value in configuration.dovecot.values.items():
        if name.rpartition("/")[2] in ("ssl_cert", "ssl_key", "ssl_ca") and value.startswith("<"):
            at = str(Path(configuration.directory, "dovecot.conf"))
            yield from _file(value[1:].strip(), at, name, is_secret=name.endswith("ssl_key"))


def _file(path: str, at: str, name: str, *, is_secret: bool) -> Iterator[Problem]:
    try:
        facts = Path(path).stat()
    except OSError as error:
        # Another user than root may not see a key's directory; that says nothing about the process that will read it.
        if isinstance(error, PermissionError) and os.geteuid() != 0:
            return
        yield Problem("error", at, f"{name}: cannot read {path}: {error.strerror}")
        return
    if is_secret and stat.S_ISREG(facts.st_mode) and facts.st_mode & 0o007:
        yield Problem("warning", at, f"{name}: everybody can read the private key {path}", f"chmod 600 {path}")


def _directories(configuration: Configuration, places: Mapping[str, str]) -> Iterator[Problem]:
    settings = configuration.main
    for param in (QUEUE_DIRECTORY, DATA_DIRECTORY):
        path, at = Path(settings[param]), _at(param.name, places)
        if not path.is_absolute():
            yield Problem("error", at, f"{param.name} = {path}: the whole path is expected, from /")
        elif not path.exists():
            if not os.access(_nearest_existing(path), os.W_OK):
                yield Problem("error", at, f"{param.name} = {path} does not exist", INIT)
        elif not path.is_dir():
            yield Problem("error", at, f"{param.name} = {path} is no directory")
        else:
            yield from _writable_by_others(path, at, param.name)
    yield from _writable_by_others(Path(configuration.directory), configuration.directory, "configuration directory")


def _directory_server(configuration: Configuration, places: Mapping[str, str]) -> Iterator[Problem]:
    value, at = configuration.main[DIRECTORY_DATABASE], _at(DIRECTORY_DATABASE.name, places)
    if file_of(value):
        return
    password_files: list[str] = []

    def read(path: str) -> str:
        password_files.append(path)
        return ""

    try:
        driver_of(settings_of_url(value, read=read))
    except BadDatabase as error:
        yield Problem("error", at, f"directory_database: {error}")
        return
    for path in password_files:
        yield from _file(path, at, "directory_database: password_file", is_secret=True)
    main = Path(configuration.directory, "main.cf")
    if urlsplit(value).password and main.exists() and main.stat().st_mode & 0o004:
        words = "directory_database: everybody can read the password in main.cf"
        yield Problem("warning", at, words, "put it into a file of its own: ?password_file=/path")


def _nearest_existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def _writable_by_others(path: Path, at: str, name: str) -> Iterator[Problem]:
    try:
        mode = path.stat().st_mode
    except OSError as error:
        yield Problem("error", at, f"{name} = {path}: {error.strerror}", INIT)
        return
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        yield Problem("error", at, f"{name} = {path}: everybody can write there", f"chmod o-w {path}")


def _users(settings: Settings, places: Mapping[str, str]) -> Iterator[Problem]:
    """As root every process runs under a user of its own; each must exist."""
    if os.geteuid() != 0:
        return
    missing: dict[str, str] = {}
    for name in dict.fromkeys(spec.user for spec in PROCESSES):
        user = settings.text(name)
        try:
            pwd.getpwnam(user)
        except KeyError:
            if name in places:
                yield Problem("warning", places[name], f"{name}: there is no user {user!r}", INIT)
            else:
                missing[name] = user
    if missing:
        words = ", ".join(f"{user} ({name})" for name, user in missing.items())
        yield Problem("warning", "system users", f"these are missing: {words}", '"posthouse init" makes them')


def main() -> None:
    from posthouse.config.loading import default_directory

    sys.exit(run(default_directory()))


if __name__ == "__main__":
    main()
