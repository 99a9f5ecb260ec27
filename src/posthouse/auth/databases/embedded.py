"""The directory as one database of a chain: driver = directory.

A password that has the form of an application password is compared with the account's, which is quick; any other is
left to whoever compares main passwords.
"""

import time
from collections.abc import Callable, Mapping
from typing import Final

from posthouse.auth.app_passwords import canonical, fitting
from posthouse.auth.databases.lookup import WEAK_FIELD, DatabaseError, PassFound, Question
from posthouse.auth.directory import Account, Directory, DirectoryError
from posthouse.auth.schemes import is_weak

APP_PASSWORD_FIELD: Final = "app_password"  # noqa: S105
"""In the answer: the label of the one that was right."""


class EmbeddedDatabase:
    """`directory` gives the open one: the file may be replaced while the process runs."""

    name = "directory"
    is_immediate = True
    """May be asked where there is no task: it never waits, or not for what only a task can."""

    def __init__(self, directory: Callable[[], Directory], default_scheme: str) -> None:
        self._directory = directory
        self.default_scheme = default_scheme

    async def password(self, question: Question) -> PassFound | None:
        """The main password, for mechanisms that need what is stored."""
        try:
            return main_password(self._directory(), question)
        except DirectoryError as error:
            raise DatabaseError(str(error)) from error

    async def check(self, question: Question, password: bytes) -> PassFound | None:
        """Application passwords are compared here; `is_right` stays None if it can only be the main one."""
        try:
            return checked(self._directory(), question, password)
        except DirectoryError as error:
            raise DatabaseError(str(error)) from error

    async def fields(self, question: Question) -> Mapping[str, str] | None:
        try:
            account = self._directory().account(question.user)
        except DirectoryError as error:
            raise DatabaseError(str(error)) from error
        return None if account is None else user_fields(account)

    async def users(self) -> list[str]:
        try:
            return [account.address for account in self._directory().accounts()]
        except DirectoryError as error:
            raise DatabaseError(str(error)) from error

    def close(self) -> None:
        pass


def main_password(directory: Directory, question: Question) -> PassFound | None:
    account = directory.account(question.user)
    if account is None:
        return None
    if account.needs_app_password:
        return PassFound("", _barred(account), is_right=False, reason="only app passwords are good for this user")
    fields = _barred(account)
    if is_weak(account.password, ""):
        fields = {**fields, WEAK_FIELD: EmbeddedDatabase.name}
    return PassFound(account.password, fields)


def checked(directory: Directory, question: Question, password: bytes) -> PassFound | None:
    found = main_password(directory, question)
    key = canonical(password)
    if found is None or key is None:
        return found
    one = fitting(directory.app_passwords(question.user), key)
    if one is None:
        return found
    if reason := one.refusal(question.service, time.time()):
        return PassFound("", found.fields, is_right=False, reason=reason)
    return PassFound("", {**found.fields, APP_PASSWORD_FIELD: one.label}, is_right=True)


def user_fields(account: Account) -> Mapping[str, str]:
    found = {"user": account.address, "home": account.home, "mail": account.mail}
    if account.quota_octets:
        found["quota_rule"] = f"*:bytes={account.quota_octets}"
    if account.is_disabled or account.is_domain_disabled:
        # Mail for him still arrives.
        found["nologin"] = "yes"
    return {name: value for name, value in found.items() if value}


def _barred(account: Account) -> Mapping[str, str]:
    if account.is_disabled:
        return {"nologin": "yes", "reason": "user is disabled"}
    if account.is_domain_disabled:
        return {"nologin": "yes", "reason": "the domain of the user is disabled"}
    return {}
