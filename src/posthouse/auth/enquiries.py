"""What other programs may ask the auth service besides "is this password right": who is this, who is there.

Passwords and hashes are never part of an answer.
"""

import asyncio
import base64
import binascii
import hmac
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from posthouse.auth.databases.cached import AnswerCache
from posthouse.auth.databases.configured import Chains
from posthouse.auth.databases.lookup import WEAK_FIELD, DatabaseError, Question
from posthouse.auth.directory import Directory, DirectoryError, Refused
from posthouse.auth.exchange import Exchanges
from posthouse.auth.logins import Logins
from posthouse.auth.passdb import Verdict
from posthouse.auth.schemes import UnusablePassword
from posthouse.auth.userdb import UserDb
from posthouse.protocol.sasl.mechanism import Claim, NeedSecret, Secret
from posthouse.runtime.schema import Authenticate, AuthFailure, AuthSuccess, Record, UserEntry

SECRET_FIELDS: Final = frozenset({"password", "pass", "nopassword", WEAK_FIELD})


class Enquiries:
    """`directory` is the one that is open now; `open_directory` opens another connection, in a thread, for a change."""

    def __init__(
        self,
        *,
        logins: Logins,
        userdb: Callable[[], UserDb],
        chains: Callable[[], Chains],
        cache: AnswerCache,
        open_directory: Callable[[], Directory],
    ) -> None:
        self._logins = logins
        self._userdb = userdb
        self._chains = chains
        self._cache = cache
        self._open_directory = open_directory

    async def user(self, name: str, service: str) -> UserEntry | None:
        """Raises DatabaseError."""
        return await self._userdb().find(Question(name, service))

    async def passdb(self, name: str, service: str) -> tuple[str, Mapping[str, str]] | None:
        """The name and what the passdb says of a user who exists and may log in. Raises DatabaseError."""
        answer: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._logins.passdb.claim(Claim(name, ""), Question("", service), answer.set_result)
        verdict = await answer
        if verdict.is_temporary:
            raise DatabaseError(verdict.error or verdict.reason)
        if not verdict.is_right:
            return None
        return verdict.user, {one: value for one, value in verdict.fields.items() if one not in SECRET_FIELDS}

    async def users(self) -> list[str]:
        """Everybody whom the userdb blocks can list, each once. Raises DatabaseError if one of them cannot."""
        found: dict[str, None] = {}
        for block in self._chains().userdbs:
            list_users = getattr(block.database, "users", None)
            if list_users is None:
                if block.database.name == "prefetch":
                    continue
                raise DatabaseError(f"userdb {block.database.name} cannot list its users")
            found.update(dict.fromkeys(await list_users()))
        return list(found)

    def flush(self, users: Sequence[str]) -> int:
        """Forget what is remembered of these users, or of everybody."""
        return self._cache.flush(users)

    async def login(self, service: str, user: str, password: bytes, remote: str = "") -> str | None:
        """The user's name; None for a refusal, which comes after the failure delay. Raises DatabaseError."""
        response = b"\0" + user.encode("utf-8", "surrogateescape") + b"\0" + password
        answer: asyncio.Future[Record] = asyncio.get_running_loop().create_future()
        request = Authenticate(1, "PLAIN", response, service, remote, "", secured=True)
        self._logins.on_record(Exchanges(), request, answer.set_result, is_foreign=True)
        return self._name(await answer)

    async def cram_md5(self, service: str, challenge: bytes, response: bytes, remote: str) -> str | None:
        """A challenge that the asking server made; both in base64. As `login`."""
        try:
            question, answered = base64.b64decode(challenge, validate=True), base64.b64decode(response, validate=True)
            user, _, digest = answered.decode("utf-8").rpartition(" ")
        except (binascii.Error, ValueError):
            return None
        answer: asyncio.Future[tuple[Verdict, Secret]] = asyncio.get_running_loop().create_future()
        begun_s = asyncio.get_running_loop().time()
        need = NeedSecret(user, "", "CRAM-MD5", question)
        self._logins.passdb.secret(need, Question("", service, remote), lambda *given: answer.set_result(given))
        verdict, secret = await answer
        if verdict.is_temporary:
            raise DatabaseError(verdict.error or verdict.reason)
        assert isinstance(secret, bytes)
        if hmac.compare_digest(secret.hex(), digest) and verdict.is_right:
            self._logins.failures.succeeded(remote, verdict.user)
            return verdict.user
        self._logins.failed(remote, service, verdict)
        delay_s = self._logins.terms.failure_delay_s - (asyncio.get_running_loop().time() - begun_s)
        await asyncio.sleep(max(0.0, delay_s))
        return None

    async def change_password(self, service: str, user: str, old: bytes, new: bytes, remote: str) -> bool:
        """Only accounts of the directory can; whoever asks has to know the old one. Raises DatabaseError."""
        name = await self.login(service, user, old, remote)
        if name is None:
            return False
        try:
            return await asyncio.get_running_loop().run_in_executor(None, self._set_password, name, new)
        except DirectoryError as error:
            raise DatabaseError(str(error)) from error

    def _set_password(self, user: str, new: bytes) -> bool:
        directory = self._open_directory()
        try:
            directory.set_password(user, new.decode("utf-8"))
        except (Refused, UnusablePassword, UnicodeDecodeError):
            return False
        finally:
            directory.close()
        return True

    @staticmethod
    def _name(answer: Record) -> str | None:
        match answer:
            case AuthSuccess(user):
                return user
            case AuthFailure() if not answer.temporary:
                return None
            case _:
                reason = answer.reason if isinstance(answer, AuthFailure) else type(answer).__name__
                raise DatabaseError(reason)
