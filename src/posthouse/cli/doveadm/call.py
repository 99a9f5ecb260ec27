"""One command line of doveadm: what was asked, and what it may use."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TextIO

import msgspec

from posthouse.cli.doveadm.endings import EX_TEMPFAIL, EX_USAGE, OK, Ended, Fatal
from posthouse.cli.doveadm.formatters import Column, Formatter, formatter
from posthouse.cli.doveadm.imap import Imap
from posthouse.cli.doveadm.system import WILDCARDS, System, failure
from posthouse.config.configuration import Configuration
from posthouse.core.reply import MailError


class Call:
    """`options` by letter, in order, as getopt gives them."""

    def __init__(
        self,
        *,
        name: str,
        usage: str,
        options: Sequence[tuple[str, str]],
        arguments: Sequence[str],
        format_name: str,
        system: System,
        configuration: Callable[[], Configuration],
        directory: str,
    ) -> None:
        self.name = name
        self.usage = usage
        self.options = options
        self.arguments = list(arguments)
        self.format_name = format_name
        self.system = system
        self.configuration = configuration
        self.directory = directory
        self.out: TextIO = sys.stdout

    def has(self, letter: str) -> bool:
        return any(one == letter for one, _ in self.options)

    def value(self, letter: str, default: str = "") -> str:
        return next((value for one, value in reversed(self.options) if one == letter), default)

    def values(self, letter: str) -> list[str]:
        return [value for one, value in self.options if one == letter]

    def refuse_usage(self) -> Ended:
        return Ended(EX_USAGE, f"doveadm {self.name} {self.usage}")

    def say(self, text: str) -> None:
        print(text, file=sys.stderr)

    def formatter(self, default: str, columns: Sequence[Column]) -> Formatter:
        return formatter(self.format_name or default, self.out, columns)

    # ── users of mail commands ──

    @property
    def is_for_many(self) -> bool:
        return self.has("A") or self.has("F") or bool(WILDCARDS & set(self.value("u")))

    def users(self) -> Iterator[str]:
        if self.has("F"):
            path = self.value("F")
            try:
                with open(path, encoding="utf-8", errors="surrogateescape") as file:
                    yield from (line.strip() for line in file if line.strip())
            except OSError as error:
                raise Fatal(f"open({path}) failed: {error.strerror}") from error
        elif self.has("A") or WILDCARDS & set(self.value("u")):
            yield from self.system.users(self.value("u") or "*")
            if self.system.unlisted:
                drivers = ", ".join(self.system.unlisted)
                raise Ended(EX_TEMPFAIL, f"Error: userdb {drivers} cannot list its users")
        else:
            user = self.value("u") or os.environ.get("USER", "")
            if not user:
                raise Fatal("USER environment is missing and -u option not used", EX_USAGE)
            yield user

    def for_each_user(self, work: Callable[[str], int | None]) -> int:
        """The last failure's status. With one user a failure ends the command, with many the next one's turn comes."""
        status = OK
        users = self.users()
        while True:
            user = ""
            try:
                user = next(users, "")
                if not user:
                    return status
                status = work(user) or status
            except Ended as error:
                status = error.status
                if str(error):
                    self.say(str(error))
                if not self.is_for_many or not user:
                    return status
            except MailError as error:
                status = EX_TEMPFAIL
                self.say(f"doveadm({user}): Error: {failure(error)}")
                if not self.is_for_many:
                    return status


class Rows:
    """Output of a command on mail: with several users, whose it is stands in front."""

    def __init__(self, call: Call, default: str, columns: Sequence[Column]) -> None:
        self._is_for_many = call.is_for_many
        if self._is_for_many:
            columns = [Column("Username", "username", is_hidden=True), *columns]
        self._formatter = call.formatter(default, columns)

    def row(self, user: str, *values: str) -> None:
        self._formatter.row([user, *values] if self._is_for_many else values)

    def end(self) -> None:
        self._formatter.end()


class Session(msgspec.Struct):
    """The IMAP session of one user; use as a context manager."""

    user: str
    imap: Imap

    @classmethod
    def of(cls, call: Call, user: str) -> "Session":
        return cls(user, Imap(call.system.session(user)))

    def __enter__(self) -> Imap:
        return self.imap

    def __exit__(self, *_: object) -> None:
        self.imap.close()
