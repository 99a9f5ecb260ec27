"""Where a user's mail is: the userdb answer."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from posthouse.auth.databases.chain import Block, is_yes, look_up
from posthouse.auth.databases.lookup import DatabaseError, Question, UserDatabase
from posthouse.core.variables import Template, user_values
from posthouse.runtime.schema import UserEntry


class UserDb:
    """The userdb blocks of dovecot.conf. What they do not say about a user (uid, home, mail) the settings say.

    `delimiters` are recipient_delimiter's characters: mail for bob+work is bob's (a login name is taken as it is).
    """

    def __init__(
        self,
        blocks: Sequence[Block[UserDatabase]],
        *,
        home: Template,
        mail: Template,
        uid: int,
        gid: int,
        delimiters: str,
        valid_uids: tuple[int, int],
        trouble: Callable[[str, str], None],
    ) -> None:
        """`valid_uids`: the lowest and the highest (0: none) that a database may give."""
        self._blocks = blocks
        self._first_uid, self._last_uid = valid_uids
        self._home = home
        self._mail = mail
        self._uid = uid
        self._gid = gid
        self._delimiters = delimiters
        self._trouble = trouble

    @property
    def is_immediate(self) -> bool:
        return all(getattr(one.database, "is_immediate", False) for one in self._blocks)

    async def find(self, question: Question, *, for_login: bool = False) -> UserEntry | None:
        """None `for_login` of a user who may get mail only. Raises DatabaseError."""
        if not is_safe(question.user):
            return None
        fields = await look_up(self._blocks, question, self._trouble)
        if fields is None and self._delimiters and not question.prefetched and not for_login:
            local_part, _, domain = question.user.rpartition("@")
            base = without_extension(local_part, self._delimiters)
            if base:
                question = msgspec.structs.replace(question, user=f"{base}@{domain}")
                fields = await look_up(self._blocks, question, self._trouble)
        if fields is None or (for_login and is_yes(fields.get("nologin", "no"))):
            return None
        return self._entry(question, fields)

    def _entry(self, question: Question, fields: Mapping[str, str]) -> UserEntry:
        user = fields.get("user", question.user)
        if not is_safe(user):
            raise DatabaseError(f"the user name {user!r} of the database cannot be part of a path")
        values = user_values(user, question.service)
        home = fields.get("home") or self._home.fill(values)
        values["home"] = home
        mail = fields.get("mail") or self._mail.fill(values)
        uid = _number(fields, "uid", self._uid)
        if "uid" in fields and (uid < self._first_uid or 0 < self._last_uid < uid):
            raise DatabaseError(
                f"uid={uid} is not permitted: first_valid_uid = {self._first_uid}, last_valid_uid = {self._last_uid}"
                " in dovecot.conf"
            )
        if uid != self._uid:
            words = (
                f"uid={uid}, but mailboxes are opened with uid {self._uid}: set virtual_user in main.cf to that user"
            )
            self._trouble("userdb", words)
        return UserEntry(
            user,
            uid,
            _number(fields, "gid", self._gid),
            home,
            _with_home(mail, home),
            quota_octets(fields),
        )


def is_safe(user: str) -> bool:
    """A name becomes a part of paths. Databases compare more loosely than file systems do ("alice " is "alice")."""
    username, _, domain = user.rpartition("@")
    return (
        bool(user)
        and user == user.strip()
        and not any(character in "/\\" or not character.isprintable() for character in user)
        and not {username, domain, user} & {".", ".."}
    )


def _number(fields: Mapping[str, str], name: str, default: int) -> int:
    value = fields.get(name, "")
    if not value:
        return default
    if not value.isdecimal():
        # Names of system users cannot be looked up in the jail of auth.
        raise DatabaseError(f"{name}={value}: a number is expected")
    return int(value)


MAXIMAL_QUOTA: Final = (1 << 63) - 1
"""Octets; what a database's BIGINT takes."""
_QUOTA: Final = re.compile(r"\*:(?:bytes|storage)=([0-9]{1,18})(?![0-9])([bkMGT]?)")
_UNITS: Final = {"b": 1, "k": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def quota_octets(fields: Mapping[str, str]) -> int:
    """quota_rule = *:storage=1G (kilobytes without a unit) or *:bytes=N; 0 is no limit. Others say nothing here."""
    rule = fields.get("quota_rule", "")
    match = _QUOTA.match(rule)
    if match is None:
        return 0
    return min(int(match[1]) * _UNITS[match[2] or ("b" if "bytes" in rule else "k")], MAXIMAL_QUOTA)


def without_extension(local_part: str, delimiters: str) -> str:
    """The part before the first delimiter; "" if there is none (or nothing is before it)."""
    found = [at for character in delimiters if (at := local_part.find(character, 1)) > 0]
    return local_part[: min(found)] if found else ""


def _with_home(mail: str, home: str) -> str:
    """ "maildir:~/Maildir:INDEX=~/x": a ~ that begins a path is the home."""
    if "~" not in mail:
        return mail
    for before in (":", "="):
        mail = mail.replace(f"{before}~/", f"{before}{home}/")
        if mail.endswith(f"{before}~"):
            mail = mail[:-1] + home
    return mail
