"""STATUS (RFC 3501 s6.3.10)."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from posthouse.access.imap.specification import Answer
from posthouse.protocol.imap.arguments import Arguments, BadArguments
from posthouse.protocol.imap.response import ok
from posthouse.store.interface import MailboxStatus

if TYPE_CHECKING:
    from posthouse.access.imap.session import ImapSession

ITEMS: Final[Mapping[str, Callable[[MailboxStatus], int]]] = {
    "MESSAGES": lambda status: status.messages,
    "RECENT": lambda status: status.recent,
    "UIDNEXT": lambda status: status.uid_next,
    "UIDVALIDITY": lambda status: status.uid_validity,
    "UNSEEN": lambda status: status.unseen,
}


def status(session: "ImapSession", arguments: Arguments) -> Answer:
    arguments.space()
    name = session.names.read(arguments.astring())
    arguments.space()
    items = parse_items(arguments)
    arguments.end()
    session.write(status_response(session, name, items))
    if session.selected is not None and session.selected.mailbox.name == name:
        return ok("Status on selected mailbox completed.", "CLIENTBUG")
    return ok("Status completed.")


def parse_items(arguments: Arguments) -> tuple[str, ...]:
    arguments.expect(b"(")
    items: list[str] = []
    while not arguments.maybe(b")"):
        if items:
            arguments.space()
        word = arguments.keyword()
        if word not in ITEMS:
            raise BadArguments(f"Invalid status item {word[:64]}")
        if word not in items:
            items.append(word)
    if not items:
        raise BadArguments("Empty status list.")
    return tuple(items)


def status_response(session: "ImapSession", name: str, items: tuple[str, ...]) -> bytes:
    """Raises StoreError."""
    found = session.store.status(name)
    words = " ".join([f"{item} {ITEMS[item](found)}" for item in items])
    return b"* STATUS %b (%b)\r\n" % (session.names.format(name), words.encode("ascii"))
