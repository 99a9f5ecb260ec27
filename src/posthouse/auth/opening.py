"""From directory_database to an open directory, for commands: a path is SQLite's, a URL a server's."""

import os
from collections.abc import Callable

from posthouse.auth.database_url import is_elsewhere, is_url, settings_of_url
from posthouse.auth.databases.lookup import BadDatabase
from posthouse.auth.directory import Directory
from posthouse.auth.schemes import Hasher
from posthouse.auth.server_directory import ServerDirectory, driver_of
from posthouse.auth.server_storage import ServerStorage
from posthouse.auth.storage import DirectoryError


def file_of(value: str) -> str:
    """The SQLite file; "" if the directory is on a server."""
    if not is_url(value):
        return value
    return value.partition(":")[2].removeprefix("//") if value.startswith("sqlite:") else ""


def directory_of(value: str) -> str:
    """Where that file is; "" if it is on a server."""
    return os.path.dirname(file_of(value))


def is_on_another_host(value: str) -> bool:
    """Does auth need the network for it? Asked by master, before auth is jailed."""
    if file_of(value):
        return False
    try:
        return is_elsewhere(settings_of_url(value, read=lambda _: ""))
    except BadDatabase:
        return False  # auth says what is wrong


def open_directory(value: str, hasher: Hasher, read: Callable[[str], str]) -> Directory:
    """Makes it, or brings its schema up to date. `read` gives the text of a password_file. Raises DirectoryError."""
    if path := file_of(value):
        return Directory.open(path, hasher=hasher)
    try:
        driver = driver_of(settings_of_url(value, read=read))
    except BadDatabase as error:
        raise DirectoryError(f"directory_database: {error}") from error
    return Directory(ServerStorage(driver, create=True), hasher)


def server_directory(value: str, threads: int, read: Callable[[str], str]) -> ServerDirectory | None:
    """For auth; None if it is a file. Raises BadDatabase."""
    return None if file_of(value) else ServerDirectory(settings_of_url(value, read=read), threads)
