"""What the administrator's command doveadm asks of a mailbox worker: who is here, end these, what is in this store.

Its own sessions are IMAP sessions that greet with PREAUTH, opened with a ticket like everybody's.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from posthouse.access.conversation import Conversation
from posthouse.core.reply import PermFail, Reply, TempFail
from posthouse.runtime.ipc import Connection, Responder, SchemaError
from posthouse.runtime.schema import (
    Changed,
    EndSessions,
    Handover,
    InspectStore,
    ListSessions,
    MailboxFacts,
    Record,
    SessionEntry,
    SessionPage,
    StoreFacts,
)
from posthouse.store.interface import MailboxNotFound, StorageFailed, StoreError
from posthouse.store.maildir.guid import guid
from posthouse.store.maildir.store import MaildirStore

SERVICE: Final = "doveadm"
PAGE_LIMIT: Final = 5000
"""Sessions in one answer: a frame of at most two megabytes."""
LINE_LIMIT: Final = 16 << 20
"""Octets of one command of doveadm's: a set of more than a million UIDs without two neighbours."""
FAREWELL: Final = "Disconnected by the administrator."


class MailboxAdministration:
    """`opened` trades a ticket for the open store of its user, which `leave` gives back; `take_over` begins a session
    on a descriptor."""

    def __init__(
        self,
        sessions: Mapping[Conversation, SessionEntry],
        opened: Callable[[bytes], Awaitable[MaildirStore]],
        leave: Callable[[MaildirStore], None],
        take_over: Callable[[Connection, Handover, list[int], Responder | None], None],
    ) -> None:
        self._sessions = sessions
        self._opened = opened
        self._leave = leave
        self._take_over = take_over

    def handle(self, connection: Connection, record: Record, descriptors: list[int], respond: Responder | None) -> None:
        if descriptors and not isinstance(record, Handover):
            for one in descriptors:
                os.close(one)
            raise SchemaError("descriptors without a hand-over")
        match record:
            case Handover():
                self._take_over(connection, record, descriptors, respond)
            case ListSessions(after, limit) if respond is not None:
                respond(self._page(after, limit))
            case EndSessions(numbers) if respond is not None:
                respond(Changed(self._end(frozenset(numbers))))
            case InspectStore() if respond is not None:
                connection.respond_with(respond, self._inspect(record))
            case _:
                raise SchemaError(f"unexpected {type(record).__name__}")

    def _page(self, after: int, limit: int) -> SessionPage:
        found = sorted((one for one in self._sessions.values() if one.number > after), key=lambda one: one.number)
        page = found[: max(1, min(limit, PAGE_LIMIT))]
        return SessionPage(tuple(page), page[-1].number if len(page) < len(found) else 0)

    def _end(self, numbers: frozenset[int]) -> int:
        ended = 0
        for session, entry in list(self._sessions.items()):
            if entry.number in numbers:
                ended += 1
                if session.stuck:
                    session.abort(FAREWELL)
                else:
                    session.shutdown(FAREWELL)
        return ended

    async def _inspect(self, question: InspectStore) -> StoreFacts:
        store = await self._opened(question.ticket)
        try:
            return await _facts(store, question)
        except StorageFailed as error:
            raise TempFail(Reply.of(451, "4.3.0", str(error))) from error
        except StoreError as error:
            raise PermFail(Reply.of(550, "5.2.0", str(error))) from error
        finally:
            self._leave(store)


async def _facts(store: MaildirStore, question: InspectStore) -> StoreFacts:
    names = question.names
    if names is None:
        names = tuple(one.name for one in store.mailboxes() if one.selectable)
    facts: list[MailboxFacts] = []
    missing: list[str] = []
    for name in names:
        try:
            facts.append(_of_mailbox(store, name, rescan=question.rescan))
        except MailboxNotFound:
            missing.append(name)
        # A store may have thousands: others come in between.
        await asyncio.sleep(0)
    if question.recount:
        store.recount_quota()
    if question.rescan:
        await store.flush()
    return StoreFacts(tuple(facts), tuple(missing), *store.quota())


def _of_mailbox(store: MaildirStore, name: str, *, rescan: bool) -> MailboxFacts:
    folder = store.folder(name)
    if rescan:
        store.open(name).refresh()
    status = folder.status()
    return MailboxFacts(
        folder.name,
        guid(store.root, folder.directory, status.uid_validity),
        folder.directory,
        status.messages,
        status.recent,
        status.unseen,
        status.uid_next,
        status.uid_validity,
        status.highest_modseq,
        status.size,
    )
