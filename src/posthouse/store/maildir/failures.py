"""Errors of files and of SQLite become StorageFailed, with the detail for the log."""

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar, cast

import apsw

from posthouse.store.interface import StorageFailed
from posthouse.store.permissions import storage_failed

P = ParamSpec("P")
R = TypeVar("R")


class HasIndex(Protocol):
    def index_failed(self, error: BaseException) -> StorageFailed: ...


S = TypeVar("S")


def translated(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """For methods of MaildirStore, and of MaildirMailbox (which has one)."""

    @functools.wraps(method)
    def wrapper(self: S, /, *arguments: P.args, **named: P.kwargs) -> R:
        try:
            return method(self, *arguments, **named)
        except OSError as error:
            raise storage_failed(
                method.__name__, str(error.filename or getattr(self, "directory", "")), error
            ) from error
        except apsw.Error as error:
            store: HasIndex = getattr(self, "store", cast(HasIndex, self))
            raise store.index_failed(error) from error

    return wrapper
