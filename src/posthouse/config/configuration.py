"""One configuration at one moment: what a configuration directory says, ready to be used by every process.

Made by `config.loading.load` in master and in commands; children inherit it through fork, and get a new one as plain
text values on reload (`Configuration.pack` / `unpack`), because a jailed process can read no files.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import msgspec

from posthouse.config.parameter import DOVECOT, MAIN, Settings


class MasterEntry(msgspec.Struct, frozen=True):
    """One line of master.cf. `endpoint` is "host:port", "port", "[::1]:port" or a socket name; `options` the -o
    overrides in order; `at` "file:line"."""

    endpoint: str
    kind: str
    private: str
    unprivileged: str
    chroot: str
    wakeup: str
    maxproc: str
    command: str
    arguments: tuple[str, ...]
    options: dict[str, str]
    at: str


class Problem(msgspec.Struct, frozen=True):
    """One thing wrong or not honoured. `severity`: "error" (start refuses) or "warning" (named and ignored)."""

    severity: str
    at: str
    """"file:line", "file", or "--set name"."""
    what: str
    suggestion: str = ""

    def __str__(self) -> str:
        tail = f"; {self.suggestion}" if self.suggestion else ""
        return f"{self.at}: {self.severity}: {self.what}{tail}"


class Packed(msgspec.Struct, frozen=True):
    directory: str
    main: dict[str, str]
    main_defaults: dict[str, str]
    dovecot: dict[str, str]
    dovecot_defaults: dict[str, str]
    master: tuple[MasterEntry, ...]


@dataclass(slots=True)
class Configuration:
    directory: str
    main: Settings
    dovecot: Settings
    master: tuple[MasterEntry, ...] = ()
    problems: tuple[Problem, ...] = field(default=())
    opened: Mapping[str, int] = field(default_factory=dict)
    """At a reload: descriptors of files that this process could not open by itself any more."""

    def read(self, path: str) -> str:
        """A file that a setting names, at start or at a reload. Raises OSError, ValueError (not UTF-8)."""
        if path not in self.opened:
            return Path(path).read_text("utf-8")
        with open(os.dup(self.opened[path]), encoding="utf-8") as file:
            file.seek(0)
            return file.read()

    def pack(self) -> Packed:
        return Packed(
            self.directory,
            self.main.values,
            self.main.extra_defaults,
            self.dovecot.values,
            self.dovecot.extra_defaults,
            self.master,
        )

    @classmethod
    def unpack(cls, packed: Packed) -> Self:
        return cls(
            packed.directory,
            Settings(MAIN, packed.main, packed.main_defaults),
            Settings(DOVECOT, packed.dovecot, packed.dovecot_defaults),
            packed.master,
        )
