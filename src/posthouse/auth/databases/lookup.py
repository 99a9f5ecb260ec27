"""What a database is asked, and what it says.

A password database gives the stored password and fields; a user database gives fields only. A database that cannot
answer raises `DatabaseError`: a temporary failure, never "no such user".
"""

from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from posthouse.core.variables import user_values

WEAK_FIELD: Final = "weak_hash"
"""In what a password database says: the password should get a better hash. Whoever can store one is named."""


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
    master: str = ""
    """The master user who acts for `user`; his own question has the other one in `login_user`."""
    login_user: str = ""

    def values(self) -> dict[str, str]:
        """For %variables (core.variables.LOGIN_VARIABLES)."""
        who, wanted = self.master or self.user, self.login_user or self.user
        return {
            **user_values(self.user, self.service),
            "rip": self.remote,
            "lip": self.local,
            "mech": self.mechanism,
            "session": self.session,
            "secured": "secured" if self.is_secured else "",
            "auth_user": who,
            "auth_username": who.rpartition("@")[0] or who,
            "auth_domain": who.rpartition("@")[2] if "@" in who else "",
            "login_user": wanted,
            "login_username": wanted.rpartition("@")[0] or wanted,
            "login_domain": wanted.rpartition("@")[2] if "@" in wanted else "",
            "master_user": self.master,
        }


class Memory(Protocol):
    """Where an answer comes from that was remembered."""

    def fits(self) -> None:
        """The password was right."""
        ...

    async def again(self) -> "PassFound | None":
        """It was wrong: what the database says now, if it is worth asking. Raises DatabaseError."""
        ...


class PassFound(msgspec.Struct, frozen=True):
    """`stored` is the password as "{SCHEME}hash" or in the database's default scheme; `fields` everything else.

    A database that compares by itself sets `is_right` (None: `stored` is to be compared), and `reason` if it is not.
    """

    stored: str
    fields: Mapping[str, str] = {}
    is_right: bool | None = None
    reason: str = ""
    memory: Memory | None = None


class PassDatabase(Protocol):
    """Gives stored passwords."""

    name: str
    """The driver, as log lines show it."""
    default_scheme: str

    async def password(self, question: Question) -> PassFound | None:
        """None: no such user here. Raises DatabaseError."""
        ...

    def close(self) -> None: ...


class CheckingDatabase(Protocol):
    """Keeps its passwords to itself and compares them (PAM, an LDAP bind)."""

    name: str
    default_scheme: str

    async def check(self, question: Question, password: bytes) -> PassFound | None:
        """With `is_right` set. None: no such user here. Raises DatabaseError."""
        ...

    def close(self) -> None: ...


class TokenDatabase(Protocol):
    """Knows whose a bearer token is (RFC 6750)."""

    name: str
    default_scheme: str

    async def token(self, question: Question, token: str) -> PassFound | None:
        """With `is_right` set; the field `user` is whose it is. None: not one of ours. Raises DatabaseError."""
        ...

    def close(self) -> None: ...


class UserDatabase(Protocol):
    name: str

    async def fields(self, question: Question) -> Mapping[str, str] | None:
        """None: no such user here. Raises DatabaseError."""
        ...

    def close(self) -> None: ...
