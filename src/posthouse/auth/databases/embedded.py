"""The embedded directory as one database of a chain: driver = directory."""

from collections.abc import Callable, Mapping

from posthouse.auth.databases.lookup import DatabaseError, PassFound, Question
from posthouse.auth.directory import Account, Directory, DirectoryError


class EmbeddedDatabase:
    """`directory` gives the open one: the file may be replaced while the process runs."""

    name = "directory"
    is_immediate = True
    """May be asked where there is no task: it never waits, or not for what only a task can."""

    def __init__(self, directory: Callable[[], Directory], default_scheme: str) -> None:
        self._directory = directory
        self.default_scheme = default_scheme

    def _account(self, user: str) -> Account | None:
        try:
            return self._directory().account(user)
        except DirectoryError as error:
            raise DatabaseError(str(error)) from error

    async def password(self, question: Question) -> PassFound | None:
        account = self._account(question.user)
        if account is None:
            return None
        return PassFound(
            account.password, {"nologin": "yes", "reason": "user is disabled"} if account.is_disabled else {}
        )

    async def fields(self, question: Question) -> Mapping[str, str] | None:
        account = self._account(question.user)
        if account is None:
            return None
        found = {"user": account.address, "home": account.home, "mail": account.mail}
        if account.quota_octets:
            found["quota_rule"] = f"*:bytes={account.quota_octets}"
        if account.is_disabled:
            # Mail for him still arrives.
            found["nologin"] = "yes"
        return {name: value for name, value in found.items() if value}

    def close(self) -> None:
        pass
