"""Is the password right? One path for every answer.

The blocks of the chain are asked in order (databases/chain.py). An unknown name, a name nobody can have and a disabled
account go through the same hash as a wrong password does, so that the time an answer takes does not tell which names
exist.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

import msgspec

from posthouse.auth.databases.chain import AnyPassDatabase, Block, Existence, Outcome, Unsuitable, authenticate
from posthouse.auth.databases.lookup import PassFound, Question
from posthouse.auth.hashing import Busy, HashPool
from posthouse.auth.loginname import BadLoginName, LoginNames
from posthouse.auth.schemes import UnknownScheme
from posthouse.auth.verified import VerifiedCache
from posthouse.protocol.sasl_mechanisms import Credentials
from posthouse.runtime.immediate import run_until_it_waits

_EXISTENCE: Final = Existence()


class Verdict(msgspec.Struct, frozen=True):
    """`user` is the name as looked up, set whenever there was one to look up. With `is_temporary` nothing is known
    about the password. `error` is for an administrator: something here is broken."""

    user: str
    is_right: bool = False
    reason: str = ""
    is_temporary: bool = False
    is_disabled: bool = False
    error: str = ""
    database: str = "passdb"
    """Which one decided, for the log."""
    fields: Mapping[str, str] = {}
    """What it said besides (userdb_*, for prefetch)."""
    master: str = ""
    """Whose password it was, if it was a master user's."""


Answer = Callable[[Verdict], None]


class Identity(msgspec.Struct, frozen=True):
    """Who logs in: the name to look up, the master user who acts for him ("" for himself), what is wrong with them."""

    user: str
    master: str = ""
    wrong: str = ""


class PassDb:
    """`blocks` and `masters` (those with master = yes) come from dovecot.conf. `trouble` hears of databases that cannot
    be asked; `decoy` is a hash that nothing fits."""

    def __init__(
        self,
        *,
        blocks: Sequence[Block[AnyPassDatabase]],
        masters: Sequence[Block[AnyPassDatabase]],
        names: LoginNames,
        master_separator: str,
        pool: HashPool,
        verified: VerifiedCache,
        decoy: str,
        monotonic: Callable[[], float],
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        trouble: Callable[[str, str], None],
    ) -> None:
        self._blocks = blocks
        self._masters = masters
        self._names = names
        self._master_separator = master_separator
        self._pool = pool
        self._verified = verified
        self._decoy = decoy
        self._monotonic = monotonic
        self._spawn = spawn
        self._trouble = trouble
        self._is_immediate = all(getattr(one.database, "is_immediate", False) for one in (*blocks, *masters))

    def check(self, credentials: Credentials, question: Question, answer: Answer) -> None:
        """`question` has no user yet. Answers now (a remembered password, a broken database) or from the loop later."""
        work = self._check(credentials, question, answer)
        if self._is_immediate:
            run_until_it_waits(work, self._spawn)
        else:
            self._spawn(work)

    def identify(self, authcid: str, authzid: str) -> Identity:
        """RFC 4616 s2: acting as somebody else takes a master user: an authorization identity, or user*master with the
        separator of dovecot.conf."""
        target = authzid
        if not target and self._master_separator and self._master_separator in authcid:
            target, _, authcid = authcid.partition(self._master_separator)
        try:
            user = self._names.parse(authcid)
        except BadLoginName as error:
            return Identity(authcid, wrong=str(error))
        if not target:
            return Identity(user)
        try:
            wanted = self._names.parse(target)
        except BadLoginName as error:
            return Identity(user, wrong=f"requested login as {target}: {error}")
        if wanted == user:
            return Identity(user)
        if not self._masters:
            return Identity(user, wrong=f"requested login as {target}, but there are no master users")
        return Identity(wanted, master=user)

    async def _check(self, credentials: Credentials, question: Question, answer: Answer) -> None:
        who = self.identify(credentials.authcid, credentials.authzid)
        proof = _Password(self, credentials.password, question)
        verdict = await self._judge(who, question, proof)
        answer(verdict)

    async def _judge(self, who: Identity, question: Question, proof: "_Password") -> Verdict:
        question = msgspec.structs.replace(question, user=who.user, master=who.master)
        try:
            if who.wrong:
                outcome = Outcome(False, who.wrong, self._first_name())
            elif who.master:
                outcome = await self._as_master(question, proof)
            else:
                outcome = await authenticate(self._blocks, question, proof, self._trouble)
            if not outcome.is_right and not proof.hashes and not outcome.is_temporary:
                # An unknown user costs what a wrong password costs.
                await proof.compare(self._decoy, "")
        except Busy:
            return Verdict(who.user, is_temporary=True, reason="too many logins at the moment")
        except Exception as error:
            # UnknownScheme is the administrator's, everything else ours; neither says anything about the password.
            words = str(error) if isinstance(error, UnknownScheme) else repr(error)
            return Verdict(
                who.user, is_temporary=True, reason="internal error", error=words, database=self._first_name()
            )
        return Verdict(
            outcome.fields.get("user", who.user) if outcome.is_right else who.user,
            outcome.is_right,
            outcome.reason,
            outcome.is_temporary,
            outcome.is_disabled,
            database=outcome.database,
            fields=outcome.fields,
            master=who.master,
        )

    async def _as_master(self, question: Question, proof: "_Password") -> Outcome:
        """The master's password decides; with pass = yes the user must exist in the other blocks and be allowed in."""
        master = msgspec.structs.replace(question, user=question.master, master="", login_user=question.user)
        found = await authenticate(self._masters, master, proof, self._trouble)
        if not found.is_right:
            return found
        block = next((one for one in self._masters if one.database.name == found.database), None)
        if block is None or not block.passes_on:
            return Outcome(True, "", found.database)
        return await authenticate(self._blocks, question, _EXISTENCE, self._trouble)

    async def compare(self, question: Question, stored: str, password: bytes, scheme: str) -> bool:
        """Raises Busy, UnknownScheme."""
        if self._verified.has(question.user, stored, password, self._monotonic()):
            return True
        answered: list[bool | Exception] = []
        waiting: asyncio.Future[bool | Exception] | None = None

        def hashed(result: bool | Exception) -> None:
            if waiting is None:
                answered.append(result)
            elif not waiting.done():
                waiting.set_result(result)

        self._pool.verify(question.remote, stored, password, scheme, hashed, user=question.user)
        if answered:
            result = answered[0]
        else:
            waiting = asyncio.get_running_loop().create_future()
            result = await waiting
        if isinstance(result, Exception):
            raise result
        if result and stored != self._decoy:
            self._verified.add(question.user, stored, password, self._monotonic())
        return result

    def _first_name(self) -> str:
        return self._blocks[0].database.name if self._blocks else "passdb"


class _Password:
    """A Proof: a password in clear text. Counts what it cost."""

    def __init__(self, passdb: PassDb, password: bytes, question: Question) -> None:
        self._passdb = passdb
        self._password = password
        self._question = question
        self.hashes = 0

    async def find(self, database: AnyPassDatabase, question: Question) -> PassFound | None:
        self._question = question
        check = getattr(database, "check", None)
        if check is not None:
            found: PassFound | None = await check(question, self._password)
            return found
        look_up = getattr(database, "password", None)
        if look_up is None:
            raise Unsuitable(f"{database.name} takes no passwords")
        found = await look_up(question)
        return found

    async def verify(self, found: PassFound, default_scheme: str) -> bool:
        return await self.compare(found.stored, default_scheme)

    async def compare(self, stored: str, default_scheme: str) -> bool:
        self.hashes += 1
        return await self._passdb.compare(self._question, stored, self._password, default_scheme)
