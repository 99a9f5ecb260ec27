"""Is the password right? One path for every answer.

The blocks of the chain are asked in order (databases/chain.py). An unknown name, a name nobody can have and a disabled
account go through the same hash as a wrong password does, so that the time an answer takes does not tell which names
exist.
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

import msgspec

from posthouse.auth.databases.chain import AnyPassDatabase, Block, Existence, Outcome, Proof, Unsuitable, authenticate
from posthouse.auth.databases.lookup import PassFound, Question
from posthouse.auth.hashing import Busy, HashPool
from posthouse.auth.loginname import BadLoginName, LoginNames
from posthouse.auth.mechanism_secrets import CannotServe, Decoys, secret_of
from posthouse.auth.schemes import UnknownScheme
from posthouse.auth.verified import VerifiedCache
from posthouse.protocol.sasl.mechanism import Claim, Credentials, NeedSecret, Secret, Token
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
        decoys: Decoys,
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
        self._decoys = decoys
        self._monotonic = monotonic
        self._spawn = spawn
        self._trouble = trouble
        self.knows_tokens = any(hasattr(one.database, "token") for one in blocks)
        self._is_immediate = all(getattr(one.database, "is_immediate", False) for one in (*blocks, *masters))

    def check(self, credentials: Credentials, question: Question, answer: Answer) -> None:
        """`question` has no user yet. Answers now (a remembered password, a broken database) or from the loop later."""
        who = self.identify(credentials.authcid, credentials.authzid)
        self._start(self._tell(who, question, _Password(self, credentials.password, question), answer))

    def secret(self, need: NeedSecret, question: Question, answer: Callable[[Verdict, Secret], None]) -> None:
        """A right verdict means here: this user may log in, if he proves to know the secret. Otherwise nothing fits
        the secret."""
        self._start(self._secret(need, question, answer))

    def token(self, token: Token, question: Question, answer: Answer) -> None:
        who = self.identify(token.authcid, "") if token.authcid else Identity("")
        self._start(self._tell(who, question, _Token(token.token), answer))

    def claim(self, claim: Claim, question: Question, answer: Answer) -> None:
        """Who he is was proven by other means: does he exist, and may he log in?"""
        self._start(self._tell(self.identify(claim.authcid, claim.authzid), question, _Existence(), answer))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
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

    async def _tell(self, who: Identity, question: Question, proof: "_Proof", answer: Answer) -> None:
        answer(await self._judge(who, question, proof))

    async def _secret(self, need: NeedSecret, question: Question, answer: Callable[[Verdict, Secret], None]) -> None:
        proof = _Stored(self, need, question)
        verdict = await self._judge(self.identify(need.authcid, need.authzid), question, proof)
        if verdict.is_right and proof.secret is None:
            verdict = Verdict(verdict.user, reason="no password is stored", database=verdict.database)
        known = proof.secret if verdict.is_right else None
        answer(verdict, self._decoys.secret(need) if known is None else known)

    async def _judge(self, who: Identity, question: Question, proof: "_Proof") -> Verdict:
        question = msgspec.structs.replace(question, user=who.user, master=who.master)
        try:
            if who.wrong:
                outcome = Outcome(False, who.wrong, self._first_name())
            elif who.master:
                outcome = await self._as_master(question, proof)
            else:
                outcome = await authenticate(self._blocks, question, proof, self._trouble)
            if not outcome.is_right and not outcome.is_temporary:
                await proof.pretend(self._decoy)
            found = outcome.fields.get("user", "")
            if (
                outcome.is_right
                and isinstance(proof, _Token)
                and (not (who.user or found) or found not in ("", who.user or found))
            ):
                outcome = Outcome(False, f"the token is of {found or 'nobody'}", outcome.database)
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

    async def _as_master(self, question: Question, proof: "_Proof") -> Outcome:
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
        is_right: bool = await _answer_of(
            lambda hashed: self._pool.verify(question.remote, stored, password, scheme, hashed, user=question.user)
        )
        if is_right and stored != self._decoy:
            self._verified.add(question.user, stored, password, self._monotonic())
        return is_right

    def salt(self, need: NeedSecret) -> bytes:
        return self._decoys.salt(need)

    async def computed(self, client: str, work: Callable[[], Any]) -> Any:
        """In a hashing thread. Raises Busy and what `work` raises."""
        return await _answer_of(lambda answer: self._pool.run(client, work, answer))

    def _first_name(self) -> str:
        return self._blocks[0].database.name if self._blocks else "passdb"


async def _answer_of(ask: Callable[[Callable[[Any], None]], None]) -> Any:
    """What `ask` is answered with, now or later; an exception is raised."""
    answered: list[Any] = []
    waiting: asyncio.Future[Any] | None = None

    def take(result: Any) -> None:
        if waiting is None:
            answered.append(result)
        elif not waiting.done():
            waiting.set_result(result)

    ask(take)
    if answered:
        result = answered[0]
    else:
        waiting = asyncio.get_running_loop().create_future()
        result = await waiting
    if isinstance(result, Exception):
        raise result
    return result


class _Proof(Proof, Protocol):
    async def pretend(self, decoy: str) -> None:
        """It failed: spend what a wrong one costs, if nothing was spent yet, so that nobody learns who exists."""
        ...


class _Existence(Existence):
    async def pretend(self, decoy: str) -> None:
        pass


class _Token:
    """A bearer token."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def find(self, database: AnyPassDatabase, question: Question) -> PassFound | None:
        ask = getattr(database, "token", None)
        if ask is None:
            raise Unsuitable(f"{database.name} takes no tokens")
        found: PassFound | None = await ask(question, self._token)
        return found

    async def verify(self, found: PassFound, default_scheme: str) -> bool:  # noqa: ARG002
        return False  # the database has said so itself

    async def pretend(self, decoy: str) -> None:
        pass


class _Stored:
    """The password as it is stored, in the form that a mechanism needs; `secret` is set by `verify`."""

    def __init__(self, passdb: PassDb, need: NeedSecret, question: Question) -> None:
        self._passdb = passdb
        self._need = need
        self._remote = question.remote
        self.secret: Secret | None = None

    async def find(self, database: AnyPassDatabase, question: Question) -> PassFound | None:
        look_up = getattr(database, "password", None)
        if look_up is None:
            raise Unsuitable(f"{database.name} gives no password to {self._need.kind}")
        found: PassFound | None = await look_up(question)
        return found

    async def verify(self, found: PassFound, default_scheme: str) -> bool:
        salt = self._passdb.salt(self._need)
        work = partial(secret_of, self._need, found.stored, default_scheme, salt)
        try:
            self.secret = await self._passdb.computed(self._remote, work)
        except CannotServe as error:
            raise Unsuitable(str(error)) from error
        return True

    async def pretend(self, decoy: str) -> None:
        pass  # the challenge leaves at a fixed time


class _Password:
    """A password in clear text."""

    def __init__(self, passdb: PassDb, password: bytes, question: Question) -> None:
        self._passdb = passdb
        self._password = password
        self._question = question
        self._hashes = 0

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
        return await self._compare(found.stored, default_scheme)

    async def pretend(self, decoy: str) -> None:
        if not self._hashes:
            await self._compare(decoy, "")

    async def _compare(self, stored: str, default_scheme: str) -> bool:
        self._hashes += 1
        return await self._passdb.compare(self._question, stored, self._password, default_scheme)
