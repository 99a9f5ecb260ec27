"""What a database is asked, and what it says.

A password database gives the stored password and fields; a user database gives fields only. A database that cannot
answer raises `DatabaseError`: a temporary failure, never "no such user".
"""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from posthouse.core.variables import user_values


class DatabaseError(Exception):
    """The text is for the log: which database, and what it said."""


class BadDatabase(ValueError):
    """A configuration of a database that cannot be used; the text says where and why."""


class Question(msgspec.Struct, frozen=True):
    """Who wants to log in, or whose mail is to be delivered (then the rest is empty)."""

    user: str
    service: str = ""
    remote: str = ""
    local: str = ""
    mechanism: str = ""
    session: str = ""
    is_secured: bool = False
    prefetched: Mapping[str, str] = {}
    """What a password database said about the user (prefetch)."""

    def values(self) -> dict[str, str]:
        """For %variables (core.variables.LOGIN_VARIABLES)."""
        return {
            **user_values(self.user, self.service),
            "rip": self.remote,
            "lip": self.local,
            "mech": self.mechanism,
            "session": self.session,
            "secured": "secured" if self.is_secured else "",
            "auth_user": self.user,
            "auth_username": self.user.rpartition("@")[0] or self.user,
            "auth_domain": self.user.rpartition("@")[2] if "@" in self.user else "",
        }


class PassFound(msgspec.Struct, frozen=True):
    """`stored` is the password as "{SCHEME}hash" or in the database's default scheme; `fields` everything else."""

    stored: str
    fields: Mapping[str, str] = {}


class PassDatabase(Protocol):
    name: str
    """The driver, as log lines show it."""
    default_scheme: str

    async def password(self, question: Question) -> PassFound | None:
        """None: no such user here. Raises DatabaseError."""
        ...

    def close(self) -> None: ...


class UserDatabase(Protocol):
    name: str

    async def fields(self, question: Question) -> Mapping[str, str] | None:
        """None: no such user here. Raises DatabaseError."""
        ...

    def close(self) -> None: ...
