"""Questions of the administrator's command doveadm.

They come by a socket that belongs to root. A password tried here is checked as anybody's is, but opens nothing, counts
for no penalty and is nobody's last login. A mailbox is opened with a ticket of the service "doveadm", as by a login.
"""

import bisect
from collections.abc import Callable, Coroutine
from typing import Any, Final

import msgspec

from posthouse.auth.databases.cached import AnswerCache
from posthouse.auth.databases.configured import Chains
from posthouse.auth.databases.lookup import DatabaseError, Question
from posthouse.auth.exchange import Exchanges
from posthouse.auth.logins import Logins
from posthouse.auth.passdb import Verdict
from posthouse.auth.userdb import UserDb
from posthouse.core.reply import LOCAL_ERROR
from posthouse.protocol.sasl.mechanism import Claim
from posthouse.runtime.ipc import Connection, Responder, SchemaError
from posthouse.runtime.schema import (
    Authenticate,
    AuthSuccess,
    Changed,
    Failure,
    FlushAuthCache,
    IssueTicket,
    ListUsers,
    LoginEntry,
    LookupLogin,
    LookupUser,
    NoSuchUser,
    Record,
    UserPage,
)

SERVICE: Final = "doveadm"
PAGE_LIMIT: Final = 5000
"""Users in one answer: a frame of at most two megabytes."""
SECRETS: Final = frozenset({"password", "userdb_password"})


class Administration:
    def __init__(
        self,
        *,
        logins: Logins,
        userdb: Callable[[], UserDb],
        chains: Callable[[], Chains],
        cache: AnswerCache,
        spawn: Callable[[Coroutine[Any, Any, None]], None],
        trouble: Callable[[str, str], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._logins = logins
        self._userdb = userdb
        self._chains = chains
        self._cache = cache
        self._spawn = spawn
        self._trouble = trouble
        self._monotonic = monotonic

    def handle(
        self,
        connection: Connection,  # noqa: ARG002 - the signature of all handlers
        record: Record,
        descriptors: list[int],  # noqa: ARG002
        respond: Responder | None,
    ) -> None:
        if respond is None:
            raise SchemaError(f"unexpected {type(record).__name__}")
        match record:
            case Authenticate():
                tried = msgspec.structs.replace(record, service=SERVICE, no_penalty=True)
                self._logins.on_record(Exchanges(), tried, respond, is_foreign=True)
            case LookupLogin(user):
                self._logins.passdb.claim(Claim(user, ""), Question("", SERVICE), lambda found: _told(found, respond))
            case FlushAuthCache(users):
                respond(Changed(self._cache.flush(users)))
            case LookupUser() | IssueTicket() | ListUsers():
                self._spawn(self._answer(record, respond))
            case _:
                raise SchemaError(f"unexpected {type(record).__name__}")

    async def _answer(self, record: LookupUser | IssueTicket | ListUsers, respond: Responder) -> None:
        try:
            respond(await self._answered(record))
        except DatabaseError as error:
            self._trouble("userdb", str(error))
            respond(Failure(LOCAL_ERROR))

    async def _answered(self, record: LookupUser | IssueTicket | ListUsers) -> Record:
        if isinstance(record, ListUsers):
            return await self._page(record)
        found = await self._userdb().find(Question(record.user, SERVICE))
        if found is None or not isinstance(record, IssueTicket):
            return found or NoSuchUser()
        return AuthSuccess(found.user, self._logins.tickets.issue(found.user, SERVICE, self._monotonic()))

    async def _page(self, record: ListUsers) -> UserPage:
        names: set[str] = set()
        unlisted: list[str] = []
        for block in self._chains().userdbs:
            list_users = getattr(block.database, "users", None)
            if list_users is not None:
                names.update(await list_users())
            elif block.database.name != "prefetch":
                unlisted.append(block.database.name)
        ordered = sorted(names)
        at = bisect.bisect_right(ordered, record.after) if record.after else 0
        page = tuple(ordered[at : at + max(1, min(record.limit, PAGE_LIMIT))])
        is_last = at + len(page) >= len(ordered)
        return UserPage(page, "" if is_last else page[-1], tuple(unlisted))


def _told(verdict: Verdict, respond: Responder) -> None:
    if verdict.is_temporary:
        respond(Failure(LOCAL_ERROR))
    elif verdict.is_right:
        respond(LoginEntry(verdict.user, tuple((n, v) for n, v in verdict.fields.items() if n not in SECRETS)))
    else:
        respond(NoSuchUser())
