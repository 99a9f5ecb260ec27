"""APPEND (RFC 3501 s6.3.11), answered when the message is on stable storage."""

import contextlib
import re
from typing import TYPE_CHECKING, Final

from posthouse.access.imap.specification import Answer, Steps
from posthouse.protocol.imap.arguments import Arguments, BadArguments
from posthouse.protocol.imap.date import parse_date_time
from posthouse.protocol.imap.flags import checked_flags
from posthouse.protocol.imap.response import Status, no, ok
from posthouse.store.interface import StoreError

if TYPE_CHECKING:
    from posthouse.access.imap.session import ImapSession

_BARE_LF: Final = re.compile(rb"(?<!\r)\n")


def append(session: "ImapSession", arguments: Arguments) -> Answer:
    name, flags, date_s = _parse_before_literal(session, arguments)
    content = arguments.literal()
    arguments.end()
    if not content:
        return no("Can't save a zero byte message.")
    return _append(session, name, content, flags, date_s)


def before_literal(session: "ImapSession", arguments: Arguments) -> Status | None:
    """Refuse before the client sends: no such mailbox, wrong arguments. Raises what `append` would raise."""
    try:
        name, _, _ = _parse_before_literal(session, arguments)
    except BadArguments:
        if arguments.peek() == b"{":
            # The literal is the mailbox's name: nothing can be said yet.
            return None
        raise
    _ = session.store.open(name)
    return None


def _parse_before_literal(session: "ImapSession", arguments: Arguments) -> tuple[str, frozenset[str], float | None]:
    arguments.space()
    name = session.names.read(arguments.astring())
    arguments.space()
    flags: frozenset[str] = frozenset()
    if arguments.peek() == b"(":
        flags = checked_flags(arguments.flag_list())
        arguments.space()
    date_s = None
    if arguments.peek() == b'"':
        date_s = parse_date_time(arguments.string())
        arguments.space()
    if arguments.peek() not in (b"{", b"~"):
        raise BadArguments("Invalid arguments.")
    return name, flags, date_s


def _append(session: "ImapSession", name: str, content: bytes, flags: frozenset[str], date_s: float | None) -> Steps:
    if content.count(b"\n") != content.count(b"\r\n"):
        # Lines end with CRLF above the store; a client that sends bare LF means the same (Dovecot does it too).
        content = _BARE_LF.sub(b"\r\n", content)
    mailbox = session.store.open(name)
    uid = mailbox.append(content, flags, session.now() if date_s is None else date_s, session)
    try:
        yield session.store.flush()
    except (StoreError, GeneratorExit):
        # The client will send it again.
        with contextlib.suppress(StoreError):
            mailbox.expunge([uid], session)
        raise
    return ok("Append completed.", f"APPENDUID {mailbox.uid_validity} {uid}")
