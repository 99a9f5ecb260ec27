"""Is the password right? One path for every answer.

An unknown name, a name nobody can have and a disabled account go through the same hash as a wrong password does, so
that the time an answer takes does not tell which names exist.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import msgspec

from posthouse.auth.databases.chain import Block, Outcome, authenticate
from posthouse.auth.databases.lookup import PassDatabase, PassFound, Question
from posthouse.auth.directory import Directory, DirectoryError
from posthouse.auth.hashing import Busy, HashPool
from posthouse.auth.loginname import BadLoginName, LoginNames
from posthouse.auth.schemes import UnknownScheme
from posthouse.auth.verified import VerifiedCache
from posthouse.protocol.sasl_mechanisms import Credentials


class Verdict(msgspec.Struct, frozen=True):
    """`user` is the name as looked up, set whenever there was one to look up. With `is_temporary` nothing is known
    about the password. `error` is for an administrator: something here is broken."""

    user: str
    is_right: bool = False
    reason: str = ""
    is_temporary: bool = False
    is_disabled: bool = False
    error: str = ""
    database: str = "directory"
    """Which one decided, for the log."""
    fields: Mapping[str, str] = {}
    """What it said besides (userdb_*, for prefetch)."""


Answer = Callable[[Verdict], None]


class PassDb:
    def __init__(
        self,
        *,
        directory: Directory,
        names: LoginNames,
        pool: HashPool,
        verified: VerifiedCache,
        decoy: str,
        default_scheme: str,
        monotonic: Callable[[], float],
    ) -> None:
        self.directory = directory
        self.names = names
        self.pool = pool
        self.verified = verified
        self.default_scheme = default_scheme
        self._decoy = decoy
        self._monotonic = monotonic

    def check(self, credentials: Credentials, question: Question, answer: Answer) -> None:
        """`question` has no user yet. Answers now (remembered password, broken database) or from the loop later."""
        user, wrong = name_of(self.names, credentials)
        wrong = wrong or "Password mismatch"
        try:
            account = self.directory.account(user) if wrong == "Password mismatch" else None
        except DirectoryError as error:
            answer(Verdict(user, is_temporary=True, reason="directory lookup failed", error=str(error)))
            return
        if account is None and wrong == "Password mismatch":
            wrong = "unknown user"
        stored = account.password if account is not None else self._decoy
        password = credentials.password
        if account is not None and self.verified.has(user, stored, password, self._monotonic()):
            answer(_right(user, account.is_disabled))
            return

        def hashed(result: bool | Exception) -> None:
            if isinstance(result, Busy):
                answer(Verdict(user, is_temporary=True, reason="too many logins at the moment"))
            elif isinstance(result, UnknownScheme):
                answer(Verdict(user, is_temporary=True, reason="password scheme", error=str(result)))
            elif isinstance(result, Exception):
                answer(Verdict(user, is_temporary=True, reason="internal error", error=repr(result)))
            elif result and account is not None:
                self.verified.add(user, stored, password, self._monotonic())
                answer(_right(user, account.is_disabled))
            else:
                answer(Verdict(user, reason=wrong))

        try:
            self.pool.verify(question.remote, stored, password, self.default_scheme, hashed, user=user)
        except Busy as error:
            hashed(error)


def name_of(names: LoginNames, credentials: Credentials) -> tuple[str, str]:
    """The name to look up, and what is wrong with it ("" for nothing)."""
    try:
        user = names.parse(credentials.authcid)
    except BadLoginName as error:
        return credentials.authcid, str(error)
    if not credentials.authzid:
        return user, ""
    # To act as somebody else takes a master user, which there is none; as oneself is fine (RFC 4616 s2).
    try:
        is_same = names.parse(credentials.authzid) == user
    except BadLoginName:
        is_same = False
    return user, "" if is_same else f"requested login as {credentials.authzid}, but there are no master users"


class ChainPassDb:
    """The passdb blocks of dovecot.conf, asked in tasks. `trouble` hears of databases that cannot be asked."""

    def __init__(
        self,
        *,
        blocks: Sequence[Block[PassDatabase]],
        names: LoginNames,
        pool: HashPool,
        verified: VerifiedCache,
        decoy: str,
        monotonic: Callable[[], float],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        trouble: Callable[[str, str], None],
    ) -> None:
        self._blocks = blocks
        self._names = names
        self._pool = pool
        self._verified = verified
        self._decoy = decoy
        self._monotonic = monotonic
        self._spawn = spawn
        self._trouble = trouble

    def check(self, credentials: Credentials, question: Question, answer: Answer) -> None:
        self._spawn(self._check(credentials, question, answer))

    async def _check(self, credentials: Credentials, question: Question, answer: Answer) -> None:
        user, wrong = name_of(self._names, credentials)
        question = msgspec.structs.replace(question, user=user)
        hashes = 0

        async def verify(found: PassFound, scheme: str) -> bool:
            nonlocal hashes
            hashes += 1
            return await self._verify(question, found.stored, credentials.password, scheme)

        try:
            if wrong:
                outcome = Outcome(False, wrong, "passdb")
            else:
                outcome = await authenticate(self._blocks, question, verify, self._trouble)
            if not outcome.is_right and not hashes and not outcome.is_temporary:
                # An unknown user costs what a wrong password costs.
                await self._verify(question, self._decoy, credentials.password, "")
        except Busy:
            answer(Verdict(user, is_temporary=True, reason="too many logins at the moment"))
            return
        except Exception as error:
            # UnknownScheme is the administrator's, everything else ours; neither says anything about the password.
            words = str(error) if isinstance(error, UnknownScheme) else repr(error)
            answer(Verdict(user, is_temporary=True, reason="internal error", error=words))
            return
        renamed = outcome.fields.get("user", user) if outcome.is_right else user
        answer(
            Verdict(
                renamed,
                outcome.is_right,
                outcome.reason,
                outcome.is_temporary,
                database=outcome.database,
                fields=outcome.fields,
            )
        )

    async def _verify(self, question: Question, stored: str, password: bytes, scheme: str) -> bool:
        """Raises Busy, UnknownScheme."""
        if self._verified.has(question.user, stored, password, self._monotonic()):
            return True
        done: asyncio.Future[bool | Exception] = asyncio.get_running_loop().create_future()

        def hashed(result: bool | Exception) -> None:
            if not done.done():
                done.set_result(result)

        self._pool.verify(question.remote, stored, password, scheme, hashed, user=question.user)
        result = await done
        if isinstance(result, Exception):
            raise result
        if result and stored != self._decoy:
            self._verified.add(question.user, stored, password, self._monotonic())
        return result


def _right(user: str, is_disabled: bool) -> Verdict:
    if is_disabled:
        return Verdict(user, reason="user is disabled", is_disabled=True)
    return Verdict(user, is_right=True)
