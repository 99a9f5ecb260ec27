"""What auth writes into the directory by itself, behind the logins: when somebody last logged in, and new hashes.

Nobody waits for it, and losing the last minute of it in a power cut hurts nobody: logins are gathered and written
together now and then, in a thread of their own, without a flush to the disk.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from posthouse.auth.databases.lookup import DatabaseError
from posthouse.auth.databases.rehash import SqlRehash
from posthouse.auth.directory import Directory, DirectoryError, Login, Refused
from posthouse.auth.schemes import Hasher, UnknownScheme, UnusablePassword, is_weak, split, verify

MAXIMAL_GATHERED: Final = 20_000
"""Logins (user and service) between two writes; whoever comes then is noted after the next one."""
LOGINS_AT_ONCE: Final = 500
"""In one transaction, which holds up whoever changes the directory."""
MAXIMAL_REHASHES: Final = 100
"""Passwords that wait for a new hash; whoever comes then gets one at a later login."""
SECRET_SHARING: Final = {
    "CRAM-MD5": frozenset(("PLAIN", "CLEAR", "CLEARTEXT", "CRAM-MD5", "HMAC-MD5")),
    "DIGEST-MD5": frozenset(("PLAIN", "CLEAR", "CLEARTEXT", "DIGEST-MD5")),
    "SCRAM-SHA-1": frozenset(("PLAIN", "CLEAR", "CLEARTEXT", "SCRAM-SHA-1")),
    "SCRAM-SHA-256": frozenset(("PLAIN", "CLEAR", "CLEARTEXT", "SCRAM-SHA-256")),
}
"""What these mechanisms need to be stored; an Argon2id hash in its place would end them for the user."""


class Bookkeeping:
    """`open_directory` is called in the thread; `trouble` hears, in the loop, of what could not be written, `changed`
    whose hash is another one now."""

    def __init__(
        self,
        open_directory: Callable[[], Directory],
        hasher: Hasher,
        trouble: Callable[[str, str], None],
        changed: Callable[[str], object],
    ) -> None:
        self._open_directory = open_directory
        self._hasher = hasher
        self._trouble = trouble
        self._changed = changed
        self._logins: dict[tuple[str, str, str], int] = {}
        self._rehashing: set[str] = set()
        self._kept: frozenset[str] = frozenset()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="bookkeeping")
        self._timer: asyncio.TimerHandle | None = None
        self._interval_s = 0.0
        self._rehashes = False

    def configure(self, interval_s: float, *, rehashes: bool, mechanisms: frozenset[str]) -> None:
        """`interval_s` 0: last logins are not kept."""
        self._interval_s = interval_s
        self._rehashes = rehashes
        self._kept = frozenset(
            scheme for name in mechanisms for scheme in SECRET_SHARING.get(name.removesuffix("-PLUS"), ())
        )

    def login(self, user: str, service: str, label: str, at_s: float) -> None:
        """`label`: of the application password, "" for the main one."""
        key = (user, (service or "unknown")[:32], label)
        if self._interval_s and (key in self._logins or len(self._logins) < MAXIMAL_GATHERED):
            self._logins[key] = int(at_s)
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(self._interval_s, self._write)

    def weak(self, user: str, password: bytes, elsewhere: SqlRehash | None) -> None:
        """This password was right for a hash that should be a better one, in the directory or `elsewhere`."""
        if not self._rehashes or user in self._rehashing or len(self._rehashing) >= MAXIMAL_REHASHES:
            return
        self._rehashing.add(user)
        done = asyncio.get_running_loop().run_in_executor(
            self._thread, self._rehash, user, password, self._kept, elsewhere
        )
        done.add_done_callback(lambda result: self._rehashed(user, result))

    def close(self) -> None:
        """Writes what is left, and waits for it."""
        if self._timer is not None:
            self._timer.cancel()
            self._write()
        # What fails now is not tried again.
        self._interval_s = 0.0
        self._thread.shutdown(wait=True)

    def _write(self) -> None:
        self._timer = None
        logins = [Login(user, service, at_s, label) for (user, service, label), at_s in self._logins.items()]
        self._logins.clear()
        done = asyncio.get_running_loop().run_in_executor(self._thread, self._note, logins)
        done.add_done_callback(lambda result: self._written(logins, result))

    def _note(self, logins: list[Login]) -> None:
        """In the thread."""
        directory = self._open_directory()
        try:
            for at in range(0, len(logins), LOGINS_AT_ONCE):
                directory.note_logins(logins[at : at + LOGINS_AT_ONCE])
        finally:
            directory.close()

    def _written(self, logins: list[Login], done: "asyncio.Future[None]") -> None:
        if done.cancelled() or (error := done.exception()) is None:
            return
        self._trouble("directory", f"last logins cannot be written at the moment: {error}")
        for one in logins:
            if (one.address, one.service, one.label) not in self._logins:
                self.login(one.address, one.service, one.label, one.at_s)

    def _rehash(self, user: str, password: bytes, kept: frozenset[str], elsewhere: SqlRehash | None) -> bool:
        """In the thread: was it replaced?"""
        if elsewhere is not None:
            return elsewhere.replace(user, password, kept, self._hasher.hash)
        directory = self._open_directory()
        try:
            account = directory.account(user)
            if account is None or not is_weak(account.password, ""):
                return False
            if split(account.password, "")[0].partition(".")[0] in kept:
                return False
            if not verify(account.password, password, "", user):
                return False
            new = self._hasher.hash(password.decode("utf-8", "surrogateescape"))
            return directory.replace_hash(account.address, account.password, new)
        finally:
            directory.close()

    def _rehashed(self, user: str, done: "asyncio.Future[bool]") -> None:
        self._rehashing.discard(user)
        if done.cancelled():
            return
        if (error := done.exception()) is None:
            if done.result():
                self._changed(user)
            return
        if not isinstance(error, (DirectoryError, DatabaseError, Refused, UnknownScheme, UnusablePassword)):
            raise error
        self._trouble("passdb", f"{user} keeps the old hash of the password: {error}")
