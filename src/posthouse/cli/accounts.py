"""What the commands of the directory share (domain, user, app-password, alias): opening it as its owner, reading
passwords, saying no.

As root these commands become the owner of the database's directory first, for good: a file that root leaves behind
(SQLite makes -wal and -shm beside the database) could not be opened by the auth process.
"""

import argparse
import getpass
import json
import os
import pwd
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from posthouse.auth.app_passwords import AppPassword
from posthouse.auth.directory import Directory, DirectoryError, Refused
from posthouse.auth.names import BadName, parse_address
from posthouse.auth.opening import file_of, open_directory
from posthouse.auth.schemes import MAXIMAL_PASSWORD, Argon2Cost, Hasher, UnusablePassword
from posthouse.config.configuration import Configuration
from posthouse.config.loading import default_directory, load
from posthouse.config.parameter import BadValue
from posthouse.config.parameters import auth as parameters
from posthouse.config.parameters.master import AUTH_USER

EX_TEMPFAIL: Final = 75
EX_NOPERM: Final = 77

Act = Callable[[Directory, argparse.Namespace], int | None]
"""The result is the exit status, if it is not 0."""


class Unusable(Exception):
    """The command cannot be carried out; the text is for the administrator."""


def run(parser: argparse.ArgumentParser, configuration_directory: str, arguments: Sequence[str]) -> int:
    """Every subcommand of `parser` has set `act`, and `prepare` if it reads anything before root is given up."""
    options = parser.parse_args(arguments)
    name = parser.prog
    try:
        options.configuration = load(configuration_directory)
        if hasattr(options, "prepare"):
            options.prepare(options)
        directory = _open(options.configuration)
    except (Unusable, BadValue) as error:
        return _say(name, str(error), 1)
    except DirectoryError as error:
        return _say(name, str(error), EX_TEMPFAIL)
    try:
        return options.act(directory, options) or 0
    except (Refused, BadName, UnusablePassword, Unusable) as error:
        return _say(name, str(error), 1)
    except DirectoryError as error:
        return _say(name, f"the directory cannot be changed at the moment: {error}", EX_TEMPFAIL)
    finally:
        directory.close()


def run_alone(run: Callable[[str, Sequence[str]], int]) -> None:
    """`python -m posthouse.cli.user …`; -c DIR comes first."""
    arguments = sys.argv[1:]
    directory = default_directory()
    if len(arguments) > 1 and arguments[0] == "-c":
        directory, arguments = arguments[1], arguments[2:]
    sys.exit(run(directory, arguments))


def _say(name: str, words: str, status: int) -> int:
    print(f"{name}: {words}", file=sys.stderr)
    return status


def _open(configuration: Configuration) -> Directory:
    settings = configuration.main
    database = settings[parameters.DIRECTORY_DATABASE]
    path = Path(file_of(database))
    os.umask(0o077)
    if not file_of(database):
        pass  # who may change a directory on a server is said by the server
    elif os.geteuid() == 0:
        _become_owner(path.parent, settings[AUTH_USER])
    elif not os.access(path if path.exists() else path.parent, os.W_OK) and path.parent.exists():
        raise Unusable(f"{path} belongs to another user; run this command as root")
    cost = Argon2Cost(
        settings[parameters.AUTH_ARGON2_MEMORY],
        settings[parameters.AUTH_ARGON2_TIME_COST],
        settings[parameters.AUTH_ARGON2_PARALLELISM],
    )
    return open_directory(database, Hasher(cost), configuration.read)


def _become_owner(directory: Path, auth_user: str) -> None:
    if not directory.exists():
        try:
            owner = pwd.getpwnam(auth_user)
        except KeyError:
            # A system that runs entirely as root (a sandbox in a container) has no such user.
            return
        if not directory.parent.exists():
            directory.parent.mkdir(parents=True)
            # Whatever the umask: several users have directories of their own in there.
            directory.parent.chmod(0o755)
        directory.mkdir(mode=0o700)
        os.chown(directory, owner.pw_uid, owner.pw_gid)
    facts = directory.stat()
    if facts.st_uid == 0:
        return
    os.setgroups([])
    os.setgid(facts.st_gid)
    os.setuid(facts.st_uid)


# ── passwords ───────────────────────────────────────────────────────────────────────────────────────────────────────


def add_password_options(parser: argparse.ArgumentParser) -> None:
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--password-file", metavar="FILE", help="read the password from the first line of FILE")
    source.add_argument("--password-stdin", action="store_true", help="read the password from standard input")
    parser.add_argument(
        "--hashed", action="store_true", help='what is read is a hash made elsewhere, such as "{SHA512-CRYPT}$6$..."'
    )
    parser.add_argument(
        "--scheme", default="", metavar="SCHEME", help="store it so, for SCRAM or CRAM-MD5, instead of Argon2id"
    )
    parser.set_defaults(prepare=_read_password)


def _read_password(options: argparse.Namespace) -> None:
    """Into options.password: from a file, from standard input, or asked for twice at the terminal. There is no option
    that takes the password itself: everybody on the machine can read the arguments of a command."""
    if options.password_file:
        try:
            with open(options.password_file, "rb") as file:
                options.password = _first_line(file.readline(MAXIMAL_PASSWORD + 3))
        except OSError as error:
            raise Unusable(f"cannot read {options.password_file}: {error.strerror}") from error
    elif options.password_stdin or not sys.stdin.isatty():
        options.password = _first_line(sys.stdin.buffer.readline(MAXIMAL_PASSWORD + 3))
    else:
        options.password = getpass.getpass(f"Password for {options.address}: ")
        if getpass.getpass("The same again: ") != options.password:
            raise Unusable("the two passwords differ; nothing was changed")
    if not options.password:
        raise Unusable("there is no password in what was read; nothing was changed")
    if options.scheme:
        if options.hashed:
            raise Unusable("--scheme is for a password in clear text, --hashed for one that is a hash already")
        # DIGEST-MD5 hashes the name too, so it must be spelled as at a login.
        try:
            options.password = Hasher().hash(options.password, options.scheme, parse_address(options.address))
        except (UnusablePassword, BadName) as error:
            raise Unusable(str(error)) from error
        options.hashed = True


def _first_line(line: bytes) -> str:
    try:
        return line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unusable("the password is not valid UTF-8") from error


# ── output ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[column]) for row in (headings, *rows)) for column in range(len(headings))]
    for row in (headings, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def moment(at_s: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at_s)) if at_s else "never"


def app_password_words(one: AppPassword) -> str:
    scope = ", ".join(one.services) or "everything"
    until = ""
    if one.expires_s:
        until = f", {'expired' if one.expires_s <= time.time() else 'until'} {moment(one.expires_s)}"
    return f'"{one.label}" for {scope}{until}, last used {moment(one.last_used_s)}'


def app_password_facts(one: AppPassword) -> dict[str, object]:
    """Everything but the digest."""
    return {
        "label": one.label,
        "services": list(one.services),
        "created": one.created_s,
        "expires": one.expires_s,
        "last_used": one.last_used_s,
    }


def print_json(value: object) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2))
