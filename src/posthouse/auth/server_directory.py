"""The directory on a database server, for auth: asked in threads, each with a connection of its own.

A question that fails on a connection that was open before is asked once more on a new one: the server may just have
been restarted.
"""

import asyncio
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from posthouse.auth.databases.embedded import checked, main_password, user_fields
from posthouse.auth.databases.lookup import BadDatabase, DatabaseError, PassFound, Question
from posthouse.auth.databases.sql import DRIVERS, Driver
from posthouse.auth.directory import Directory, DirectoryError
from posthouse.auth.schemes import Hasher
from posthouse.auth.server_storage import ServerStorage

T = TypeVar("T")


class ServerDirectory:
    """Raises BadDatabase."""

    def __init__(self, settings: Mapping[str, str], threads: int) -> None:
        self._driver = driver_of(settings)
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="directory")
        self._local = threading.local()
        self._lock = threading.Lock()
        self._open: set[Directory] = set()
        self.hasher = Hasher()

    def open(self) -> Directory:
        """One more connection, for the caller's thread. Raises DirectoryError."""
        return Directory(ServerStorage(self._driver, create=False), self.hasher)

    async def ask(self, question: Callable[[Directory], T]) -> T:
        """Raises DirectoryError."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._ask, question)

    def _ask(self, question: Callable[[Directory], T]) -> T:
        """In a thread."""
        directory: Directory | None = getattr(self._local, "directory", None)
        if directory is not None:
            try:
                return question(directory)
            except DirectoryError:
                self._forget(directory)
        directory = self.open()
        self._local.directory = directory
        with self._lock:
            self._open.add(directory)
        try:
            return question(directory)
        except DirectoryError:
            self._forget(directory)
            raise

    def _forget(self, directory: Directory) -> None:
        self._local.directory = None
        with self._lock:
            self._open.discard(directory)
        directory.close()

    def close(self) -> None:
        """Waits for what is being asked."""
        self._executor.shutdown(wait=True, cancel_futures=True)
        while self._open:
            self._open.pop().close()


class ServerDatabase:
    """driver = directory, if the directory is on a server."""

    name = "directory"

    def __init__(self, directory: ServerDirectory, default_scheme: str) -> None:
        self._directory = directory
        self.default_scheme = default_scheme

    async def _ask(self, question: Callable[[Directory], T]) -> T:
        try:
            return await self._directory.ask(question)
        except DirectoryError as error:
            raise DatabaseError(str(error)) from error

    async def password(self, question: Question) -> PassFound | None:
        return await self._ask(lambda directory: main_password(directory, question))

    async def check(self, question: Question, password: bytes) -> PassFound | None:
        return await self._ask(lambda directory: checked(directory, question, password))

    async def fields(self, question: Question) -> Mapping[str, str] | None:
        account = await self._ask(lambda directory: directory.account(question.user))
        return None if account is None else user_fields(account)

    async def users(self) -> list[str]:
        return await self._ask(lambda directory: [account.address for account in directory.accounts()])

    def close(self) -> None:
        """The directory stays open when the chains are built anew."""


def driver_of(settings: Mapping[str, str]) -> Driver:
    """Raises BadDatabase."""
    make = DRIVERS.get(settings.get("driver", ""))
    if make is None or settings["driver"] == "sqlite":
        raise BadDatabase("directory_database: a path, mysql://… or postgresql://… is expected")
    return make(settings.get("connect", ""), "directory_database")
