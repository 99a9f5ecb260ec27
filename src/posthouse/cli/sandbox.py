"""NAME
    posthouse sandbox - the whole real system in one directory, on free loopback ports
SYNOPSIS
    posthouse sandbox [--dir DIR] [--domain D] [--user NAME:PASSWORD]... [--set parameter=value]...
        [--port ENDPOINT=PORT]... [--conf-dir DIR] [--json] [--exec COMMAND]
DESCRIPTION
    Starts every process of the process table, in the foreground, until SIGINT or SIGTERM. Accounts are NAME@D; log in
    with the full address. Without --user, the first start makes alice and bob with random passwords. Data and ports are
    kept in DIR; without --dir, a temporary directory is used and removed at the end.

    --set overrides a main.cf parameter (kept in DIR/etc/main.cf) or, as dovecot/NAME=VALUE, a setting of dovecot.conf.
    --conf-dir runs a copy of an existing configuration: directories and ports become the sandbox's, all else stays.
    --json prints one line with all facts when everything answers. --exec runs a shell command with the same facts in
    its environment (POSTHOUSE_SMTP=host:port ...), then stops and returns the command's status.
USERS
    Started by root, the processes run under the users of the process table if all of these exist and can reach DIR and
    the code (a directory below /root cannot be reached); else as the caller, jailed all the same.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from posthouse.auth.directory import Refused
from posthouse.auth.opening import file_of, open_directory
from posthouse.auth.schemes import Hasher
from posthouse.cli import launch
from posthouse.cli.layout import make_places
from posthouse.cli.sandbox_directory import (
    ENDPOINTS,
    Account,
    SandboxDirectory,
    SandboxError,
    environment,
)
from posthouse.config.configuration import Configuration
from posthouse.config.loading import load
from posthouse.config.parameters.auth import DIRECTORY_DATABASE, MAIL_LOCATION
from posthouse.runtime.privileges import Identity

Facts = Mapping[str, object]
ROLE_NAMES: Final = ("postmaster", "root", "abuse")
"""RFC 5321 s4.5.1 and RFC 2142: somebody reads these; here the first account does."""
_COMMAND_GRACE_S: Final = 5.0
"""For a command that is still running when the system stops."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dir", metavar="DIR", help="where everything is kept (default: temporary)")
    parser.add_argument("--domain", metavar="D", help="the domain of the accounts (default: example.test)")
    parser.add_argument("--user", metavar="NAME:PASSWORD", action="append", default=[], help="make an account")
    parser.add_argument("--set", metavar="PARAMETER=VALUE", action="append", default=[], help="override a parameter")
    parser.add_argument(
        "--port", metavar="ENDPOINT=PORT", action="append", default=[], help=f"one of {', '.join(ENDPOINTS)}"
    )
    parser.add_argument("--conf-dir", metavar="DIR", help="run a copy of this configuration directory")
    parser.add_argument("--json", action="store_true", help="print one line of facts when everything answers")
    parser.add_argument("--exec", metavar="COMMAND", help="run a shell command, then stop")


def run(_: str, words: Sequence[str]) -> int:
    """`posthouse sandbox WORDS`."""
    parser = argparse.ArgumentParser(prog="posthouse sandbox", description="A whole mail system in one directory.")
    add_arguments(parser)
    arguments = parser.parse_args(words)
    try:
        if arguments.dir:
            return _run_in(Path(arguments.dir), arguments)
        directory = tempfile.mkdtemp(prefix="posthouse-")
        Path(directory).chmod(0o755)  # service users must reach it
        try:
            return _run_in(Path(directory), arguments)
        finally:
            shutil.rmtree(directory, ignore_errors=True)
    except SandboxError as error:
        print(f"posthouse sandbox: {error}", file=sys.stderr)
        return 1


def _run_in(directory: Path, arguments: argparse.Namespace) -> int:
    return run_with(
        directory,
        arguments,
        on_facts=_print_json if arguments.json else None if arguments.exec else _print_table,
        inside=(lambda facts: _shell(arguments.exec, facts)) if arguments.exec else None,
    )


def run_with(
    directory: Path,
    arguments: argparse.Namespace,
    *,
    on_facts: Callable[[Facts], None] | None,
    inside: Callable[[Facts], "subprocess.Popen[bytes]"] | None,
) -> int:
    """As the command line says. Raises SandboxError."""
    return run_system(
        directory,
        domain=arguments.domain,
        users=[_split(one, ":", "--user NAME:PASSWORD") for one in arguments.user],
        overrides=dict(_split(one, "=", "--set PARAMETER=VALUE") for one in arguments.set),
        ports={name: int(port) for name, port in (_split(one, "=", "--port") for one in arguments.port)},
        conf_dir=Path(arguments.conf_dir) if arguments.conf_dir else None,
        on_facts=on_facts,
        inside=inside,
    )


def run_system(
    path: Path,
    *,
    domain: str | None = None,
    users: Sequence[tuple[str, str]] = (),
    overrides: Mapping[str, str] | None = None,
    ports: Mapping[str, int] | None = None,
    conf_dir: Path | None = None,
    on_facts: Callable[[Facts], None] | None = None,
    inside: Callable[[Facts], "subprocess.Popen[bytes]"] | None = None,
) -> int:
    """Until a signal, or until `inside` has ended: then its status is ours."""
    directory = SandboxDirectory.open(path, domain)
    directory.choose_ports(ports or {})
    changed_accounts = directory.choose_accounts(users)
    main_overrides = {name: value for name, value in (overrides or {}).items() if not name.startswith("dovecot/")}
    endpoints: Sequence[str] = ENDPOINTS
    if conf_dir is None:
        directory.write_configuration(main_overrides)
    else:
        endpoints = directory.take_configuration(conf_dir, main_overrides)
    directory.dovecot_overrides |= {
        name: value for name, value in (overrides or {}).items() if name.startswith("dovecot/")
    }

    def reload() -> Configuration:
        return load(str(directory.etc), directory.dovecot_overrides)

    configuration = reload()
    launch.refuse_errors(configuration)
    identities = launch.sandbox_identities(configuration, directory.path)
    make_places(configuration, identities)
    _make_accounts(configuration, directory, changed_accounts, identities)
    directory.save()
    running = _Running(directory, endpoints, configuration, on_facts, inside)
    status = launch.run_master(
        configuration,
        reload,
        identities,
        sockets=directory.sockets,
        on_ready=running.on_ready,
        on_turn=running.on_turn,
    )
    return status or running.finish()


class _Running:
    """The command that runs inside, if any."""

    def __init__(
        self,
        directory: SandboxDirectory,
        endpoints: Sequence[str],
        configuration: Configuration,
        on_facts: Callable[[Facts], None] | None,
        command: Callable[[Facts], "subprocess.Popen[bytes]"] | None,
    ) -> None:
        self._directory = directory
        self._endpoints = endpoints
        self._configuration = configuration
        self._on_facts = on_facts
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def on_ready(self) -> None:
        facts = self._directory.facts(self._endpoints, self._configuration.dovecot.raw_text(MAIL_LOCATION.name))
        if self._on_facts is not None:
            self._on_facts(facts)
        if self._command is not None:
            self._process = self._command(facts)

    def on_turn(self) -> None:
        if self._process is not None and self._command is not None and self._process.poll() is not None:
            self._command = None
            os.kill(os.getpid(), signal.SIGTERM)

    def finish(self) -> int:
        if self._process is None:
            return 0
        if self._process.poll() is None:
            self._process.terminate()
        try:
            status = self._process.wait(_COMMAND_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        return status if status >= 0 else 128 - status


def _make_accounts(
    configuration: Configuration,
    directory: SandboxDirectory,
    changed: Sequence[Account],
    identities: Mapping[str, Identity],
) -> None:
    path = file_of(configuration.main[DIRECTORY_DATABASE])
    if not changed and path and Path(path).exists():
        return
    database = open_directory(configuration.main[DIRECTORY_DATABASE], Hasher(), configuration.read)
    try:
        if not database.has_domain(directory.state.domain):
            database.add_domain(directory.state.domain)
        for one in changed:
            if database.account(one.user) is None:
                database.add_account(one.user, one.password)
            else:
                database.set_password(one.user, one.password)
        for name in ROLE_NAMES:
            role = f"{name}@{directory.state.domain}"
            if changed and not database.targets(role):
                database.add_alias(role, [changed[0].user])
    except Refused as error:
        raise SandboxError(str(error)) from error
    finally:
        database.close()
    if path and (identity := identities.get("auth")) is not None:
        for file in Path(path).parent.iterdir():
            os.chown(file, identity.uid, identity.gid)


def _print_json(facts: Facts) -> None:
    print(json.dumps(facts), flush=True)


def _print_table(facts: Facts) -> None:
    print(table(facts), flush=True)


def table(facts: Facts) -> str:
    """Endpoints, accounts and places, for people."""
    rows = [(name, str(facts[name])) for name in ENDPOINTS if name in facts]
    accounts = facts["accounts"]
    assert isinstance(accounts, list)
    rows += [("account", f"{one['user']}   password {one['password']}") for one in accounts]
    rows += [("mail", str(facts["mail_location"])), ("log", str(facts["mail_log"])), ("CA file", str(facts["ca_file"]))]
    rows.append(("commands", f"take -c {facts['dir']}/etc"))
    return "\n".join(f"  {name:<12} {value}" for name, value in rows)


def _shell(command: str, facts: Facts) -> "subprocess.Popen[bytes]":
    # The command is the caller's own, as in every shell.
    return subprocess.Popen(command, shell=True, env={**os.environ, **environment(facts)})  # noqa: S602


def _split(text: str, separator: str, form: str) -> tuple[str, str]:
    name, found, value = text.partition(separator)
    if not found or not name:
        raise SandboxError(f"{form} is expected, not {text!r}")
    return name, value
