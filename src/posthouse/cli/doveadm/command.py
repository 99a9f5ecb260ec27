"""The commands of doveadm, their options and where they are done; and the ones that are missing."""

import getopt
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from posthouse.cli.doveadm import accounts, mailboxes, messages
from posthouse.cli.doveadm.call import Call
from posthouse.cli.doveadm.endings import EX_TEMPFAIL, EX_USAGE, OK, Ended
from posthouse.cli.doveadm.system import System, failure
from posthouse.config.configuration import Configuration
from posthouse.config.parameters.master import RUN_DIRECTORY
from posthouse.core.reply import MailError

_MAIL: Final = "[-u <user>|-A|-F <file>]"


class Command(msgspec.Struct, frozen=True):
    """`options` as getopt has them."""

    usage: str
    options: str
    act: Callable[[Call], int]


def _mail(usage: str, act: Callable[[Call], int], options: str = "") -> Command:
    # -S names a socket of Dovecot's; there is one way to the mail here.
    return Command(f"{_MAIL} {usage}".strip(), f"u:AF:S:{options}", act)


def _later(module: str, name: str) -> Callable[[Call], int]:
    """Of a module that is read when it is needed: it would make all the other commands slower."""

    def act(call: Call) -> int:
        status: int = getattr(importlib.import_module(f"posthouse.cli.doveadm.{module}"), name)(call)
        return status

    return act


COMMANDS: Final[dict[str, Command]] = {
    "auth cache flush": Command("[<user> [...]]", "a:", accounts.auth_cache_flush),
    "auth login": Command("[-x <auth info>] [-M <master user>] <user> [<password>]", "a:m:x:M:", accounts.auth_login),
    "auth lookup": Command("[-f field] <user> [<user> [...]]", "a:x:f:", accounts.auth_lookup),
    "auth test": Command("[-x <auth info>] [-M <master user>] <user> [<password>]", "a:x:M:", accounts.auth_test),
    "copy": _mail("<destination> <search query>", messages.copy),
    "expunge": _mail("<search query>", messages.expunge),
    "fetch": _mail("<fields> <search query>", messages.fetch),
    "flags add": _mail("<flags> <search query>", messages.flags_add),
    "flags remove": _mail("<flags> <search query>", messages.flags_remove),
    "flags replace": _mail("<flags> <search query>", messages.flags_replace),
    "force-resync": _mail("[-f] <mailbox mask>", mailboxes.force_resync, "f"),
    "kick": Command("<user mask>[|]<ip/bits>", "a:f", accounts.kick),
    "log errors": Command("", "", _later("control", "log_errors")),
    "log find": Command("", "", _later("control", "log_find")),
    "log reopen": Command("", "", _later("control", "log_reopen")),
    "mailbox create": _mail("[-s] <mailbox> [...]", mailboxes.create, "s"),
    "mailbox delete": _mail("[-e] [-r] [-s] <mailbox> [...]", mailboxes.delete, "ers"),
    "mailbox list": _mail("[-7|-8] [-s] [<mailbox mask> [...]]", mailboxes.list_, "78s"),
    "mailbox mutf7": Command("[-7|-8] <name> [...]", "78", mailboxes.mutf7),
    "mailbox path": _mail("[-t mailbox] <mailbox>", mailboxes.path, "t:"),
    "mailbox rename": _mail("[-s] <old name> <new name>", mailboxes.rename, "s"),
    "mailbox status": _mail("[-t] <fields> <mailbox> [...]", mailboxes.status, "t"),
    "mailbox subscribe": _mail("<mailbox> [...]", mailboxes.subscribe),
    "mailbox unsubscribe": _mail("<mailbox> [...]", mailboxes.unsubscribe),
    "move": _mail("<destination> <search query>", messages.move),
    "purge": _mail("", messages.purge),
    "pw": Command(
        "[-l] [-p plaintext] [-r rounds] [-s scheme] [-t hash] [-u user] [-V]",
        "lp:r:s:t:u:V",
        _later("passwords", "pw"),
    ),
    "quota get": _mail("", mailboxes.quota_get),
    "quota recalc": _mail("", mailboxes.quota_recalc),
    "reload": Command("", "", _later("control", "reload")),
    "save": _mail("[-m mailbox] [<file>]", messages.save, "m:"),
    "search": _mail("<search query>", messages.search),
    "stop": Command("", "", _later("control", "stop")),
    "user": Command("[-f field] [-u] <user mask> [<user mask> [...]]", "a:x:f:u", accounts.user),
    "who": Command("[-1] [<user mask>] [<ip/bits>]", "a:1", accounts.who),
}
MISSING: Final = {
    "altmove": "there is one storage for each mailbox",
    "backup": "no dsync yet",
    "batch": "",
    "config": "doveconf prints it",
    "deduplicate": "",
    "dict": "no dictionaries",
    "director": "no director",
    "dsync-server": "no dsync yet",
    "dump": "the files are others",
    "exec": "",
    "fs": "",
    "import": "",
    "index": "indexes are made when they are needed",
    "instance": "one configuration directory is one instance",
    "log test": "",
    "mailbox cache": "nothing to decide",
    "mailbox metadata": "no METADATA yet",
    "mailbox update": "",
    "oldstats": "no statistics yet",
    "penalty": "",
    "process status": "posthouse status",
    "proxy": "logins are not passed on to other servers",
    "rebuild": "",
    "replicator": "no replication",
    "service": "posthouse status, posthouse stop",
    "sis": "no attachments of their own",
    "stats": "no statistics yet",
    "sync": "no dsync yet",
}
"""Of Dovecot 2.3, and why or what else there is."""


def execute(directory: str, arguments: Sequence[str]) -> int:
    sys.stdout.reconfigure(encoding="utf-8", errors="surrogateescape", newline="")  # type: ignore[union-attr]
    try:
        status = _execute(directory, list(arguments))
        sys.stdout.flush()
    except BrokenPipeError:
        # Nobody reads on; Python must not complain about it at the end either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Ended as error:
        sys.stdout.flush()
        if str(error):
            print(error, file=sys.stderr)
        return error.status
    except MailError as error:
        sys.stdout.flush()
        print(failure(error), file=sys.stderr)
        return EX_TEMPFAIL
    except (ConnectionError, TimeoutError) as error:
        sys.stdout.flush()
        print(f"Fatal: Posthouse does not answer: {error}", file=sys.stderr)
        return EX_TEMPFAIL
    return status


def _execute(directory: str, arguments: list[str]) -> int:
    try:
        options, words = getopt.getopt(arguments, "c:f:Dv")
    except getopt.GetoptError as error:
        raise Ended(EX_USAGE, f"doveadm: {error}\n{_overview()}") from error
    format_name = ""
    for letter, value in options:
        if letter == "-c":
            directory = os.path.dirname(value) if os.path.isfile(value) else value
        elif letter == "-f":
            format_name = value
    if not words:
        raise Ended(EX_USAGE, _overview())
    if words[0] == "help":
        return _help(words[1:])
    name, rest = _named(words)
    command = COMMANDS[name]
    try:
        chosen, rest = getopt.getopt(rest, command.options)
    except getopt.GetoptError as error:
        raise Ended(EX_USAGE, f"doveadm {name}: {error}\ndoveadm {name} {command.usage}") from error
    reader = _Reader(directory)
    system = System(reader.run_directory, f"posthouse -c {reader.directory} start")
    call = Call(
        name=name,
        usage=command.usage,
        options=[(letter[1:], value) for letter, value in chosen],
        arguments=rest,
        format_name=format_name,
        system=system,
        configuration=reader.read,
        directory=reader.directory,
    )
    try:
        return command.act(call)
    finally:
        system.close()


class _Reader:
    """The configuration, read when it is asked for: pw and help need none."""

    def __init__(self, directory: str) -> None:
        from posthouse.config.loading import default_directory

        self.directory = directory or default_directory()
        self._found: Configuration | None = None

    def read(self) -> Configuration:
        if self._found is None:
            from posthouse.config.loading import load

            self._found = load(self.directory)
        return self._found

    def run_directory(self) -> str:
        """Without reading everything, which takes longer than most commands."""
        from posthouse.cli.queue_settings import read_settings

        return read_settings(self.directory)[RUN_DIRECTORY]


def _named(words: list[str]) -> tuple[str, list[str]]:
    """The longest name that is a command."""
    for length in (3, 2, 1):
        name = " ".join(words[:length])
        if len(words) >= length and name in COMMANDS:
            return name, words[length:]
        if len(words) >= length and name in MISSING:
            why = f" ({MISSING[name]})" if MISSING[name] else ""
            raise Ended(EX_USAGE, f"doveadm: {name} is not supported by Posthouse{why}")
    below = [name for name in COMMANDS if name.startswith(f"{words[0]} ")]
    if below:
        raise Ended(EX_USAGE, f"usage: doveadm [-Dv] [-f <formatter>] {words[0]} <command> [<args>]\n" + _table(below))
    raise Ended(EX_USAGE, _overview())


def _table(names: Sequence[str]) -> str:
    width = max(map(len, names))
    return "\n".join(f"  {name.ljust(width)} {COMMANDS[name].usage}".rstrip() for name in names)


def _overview() -> str:
    return "usage: doveadm [-Dv] [-f <formatter>] [-c <directory>] <command> [<args>]\n\n" + _table(list(COMMANDS))


def _help(words: Sequence[str]) -> int:
    name = " ".join(words)
    if not name:
        missing = "\n".join(f"  {one.ljust(16)} {why}".rstrip() for one, why in MISSING.items())
        print(f"{_overview()}\n\nNot supported by Posthouse:\n{missing}")
    elif name in COMMANDS:
        print(f"doveadm {name} {COMMANDS[name].usage}")
    elif name in MISSING:
        print(f"doveadm {name}: not supported by Posthouse" + (f" ({MISSING[name]})" if MISSING[name] else ""))
    else:
        below = [one for one in COMMANDS if one.startswith(f"{name} ")]
        if not below:
            raise Ended(EX_USAGE, f"doveadm: there is no command {name!r}")
        print(_table(below))
    return OK
