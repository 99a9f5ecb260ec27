"""One POP3 session in the TRANSACTION state and its end in UPDATE (RFC 1939)."""

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from posthouse.access.conversation import Conversation, Work
from posthouse.access.opening import Opening
from posthouse.access.pop3.maildrop import Maildrop
from posthouse.access.pop3.options import Pop3Options
from posthouse.protocol.pop3.content import dot_stuffed, top
from posthouse.protocol.pop3.parser import LineTooLong, Pop3Reader
from posthouse.store.interface import MessageRow, StorageFailed, Store, StoreError

LINES_CHUNK: Final = 2000
"""Lines of LIST and UIDL between two looks at the clock."""

DELETE_CHUNK: Final = 200
"""Messages removed between two looks at the clock: each may be a file."""

CAPABILITIES: Final = ("TOP", "UIDL", "RESP-CODES", "PIPELINING", "AUTH-RESP-CODE")
"""Exactly what works after login (RFC 2449, RFC 3206). Those before login are the login process's."""

_WORDS: Final = re.compile(rb"[0-9]{1,10}")
_FIELD: Final = re.compile(r"%([a-z])")


class _Refused(Exception):
    """Answered with -ERR and this text; counts as a wrong command."""


class Pop3Session(Conversation):
    """See `posthouse.access` for how it is driven."""

    def __init__(
        self,
        store: Store,
        opening: Opening,
        options: Pop3Options,
        *,
        on_closed: Callable[[Any], None] | None = None,
        on_error: Callable[[BaseException, str], None] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(opening, options.pace, on_closed=on_closed, on_error=on_error, monotonic=monotonic)
        self.store = store
        self.options = options
        self._reader = Pop3Reader()
        self._maildrop: Maildrop | None = None
        self._bad_commands = 0
        self._shutdown_text = ""
        self._retrieved = self._retrieved_octets = 0
        self._topped = self._topped_octets = 0
        self._removed = 0
        self._count = self._octets = 0

    @property
    def maildrop(self) -> Maildrop:
        assert self._maildrop is not None
        return self._maildrop

    # ── Conversation ────────────────────────────────────────────────────────────────────────────────────────────

    def begin(self) -> None:
        try:
            self._maildrop = Maildrop(self.store.open("INBOX"))
        except StoreError as error:
            self.failed(error)
            self.end("Mailbox could not be opened")
            return
        self._count, self._octets = self.maildrop.count_and_octets()
        self._ok("Logged in.")

    def feed(self, data: bytes) -> None:
        self._reader.receive_data(data)

    def buffered(self) -> int:
        return self._reader.buffered

    def step(self) -> bool:
        event = self._reader.next_event()
        if event is None:
            return False
        try:
            if isinstance(event, LineTooLong):
                raise _Refused("Line too long.")
            command = _COMMANDS.get(event.verb)
            if command is None:
                verb = "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in event.verb)
                raise _Refused(f"Unknown command: {verb[:64]}" if verb else "Unknown command.")
            command(self, event.argument)
            self._bad_commands = 0
        except _Refused as refusal:
            self._error(str(refusal))
            self._bad_commands += 1
            if self._bad_commands >= self.options.bad_commands:
                self._error("Too many bad commands.")
                self.end("Too many bad commands")
        if self._shutdown_text and not self.busy:
            self._goodbye(self._shutdown_text, self._shutdown_text)
        return True

    def failed(self, error: Exception) -> None:
        # RFC 3206 s4: SYS/TEMP tells the client that trying again later makes sense.
        if isinstance(error, StoreError) and not isinstance(error, StorageFailed):
            self._error(f"[SYS/TEMP] {error}")
            return
        detail = error.detail if isinstance(error, StorageFailed) else type(error).__name__
        self.report(error, f"pop3: {detail}")
        self._error("[SYS/TEMP] Internal error occurred. Refer to server log for more information.")

    def released(self) -> None:
        if self._maildrop is None:
            return
        # RFC 1939 s6: without QUIT nothing is removed; that a message was read is true nevertheless.
        try:
            self._mark_seen()
        except StoreError as error:
            self.report(error, "pop3: flags of fetched messages")
        self._maildrop.close()

    def statistics_text(self) -> str:
        values = {
            "i": self.in_octets,
            "o": self.out_octets,
            "t": self._topped,
            "p": self._topped_octets,
            "r": self._retrieved,
            "b": self._retrieved_octets,
            "d": self._removed,
            "m": self._count,
            "s": self._octets,
        }
        return _FIELD.sub(lambda match: str(values.get(match[1], match[0])), self.options.logout_format)

    def sweep(self) -> None:
        if self.lost or self._monotonic() - self.last_input_s < self.options.pace.idle_limit_s:
            return
        if self.stuck:
            self.abort("Inactivity")
        elif not self.busy:
            self._goodbye("Disconnected for inactivity.", "Inactivity")

    def shutdown(self, text: str) -> None:
        if self.busy:
            self._shutdown_text = text
        else:
            self._goodbye(text, text)

    # ── answers ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _ok(self, text: str) -> None:
        self.write(b"+OK %b\r\n" % text.encode("ascii") if text else b"+OK\r\n")

    def _error(self, text: str) -> None:
        self.write(b"-ERR %b\r\n" % text.encode("ascii", "replace").replace(b"\r", b" ").replace(b"\n", b" "))

    def _goodbye(self, text: str, reason: str) -> None:
        self._error(text)
        self.end(reason)
        self.kick()

    # ── arguments ───────────────────────────────────────────────────────────────────────────────────────────────

    def _message(self, argument: bytes) -> tuple[int, MessageRow, bytes]:
        """The message that is named first, and what follows."""
        match = _WORDS.match(argument)
        if match is None or argument[match.end() : match.end() + 1] not in (b"", b" "):
            raise _Refused(f"Invalid message number: {_shown(argument)}")
        number = int(match[0])
        if not 1 <= number <= len(self.maildrop.rows):
            raise _Refused(f"There's no message {number}.")
        row = self.maildrop.rows[number - 1]
        if row.uid in self.maildrop.deleted:
            raise _Refused("Message is deleted.")
        return number, row, argument[match.end() :].strip(b" ")

    def _only_message(self, argument: bytes) -> tuple[int, MessageRow]:
        number, row, rest = self._message(argument)
        if rest:
            raise _Refused(f"Noise after message number: {_shown(rest)}")
        return number, row

    def _content(self, row: MessageRow) -> bytes:
        content = self.maildrop.mailbox.content(row.uid)
        if content is None:
            raise _Refused("Message is already expunged.")
        return content

    # ── commands (RFC 1939 s5, s7; RFC 2449) ────────────────────────────────────────────────────────────────────

    def capa(self, _argument: bytes) -> None:
        lines = ("+OK", "CAPA", *CAPABILITIES, ".", "")
        self.write("\r\n".join(lines).encode("ascii"))

    def stat(self, _argument: bytes) -> None:
        count, octets = self.maildrop.count_and_octets()
        self._ok(f"{count} {octets}")

    def list_messages(self, argument: bytes) -> None:
        if argument.strip(b" "):
            number, row = self._only_message(argument)
            self._ok(f"{number} {row.size}")
            return
        listing = self.maildrop.listing()
        self._ok(f"{len(listing)} messages:")
        self.start(self._lines(listing, lambda number, row: b"%d %d\r\n" % (number, row.size)))

    def uidl(self, argument: bytes) -> None:
        uidl = self.options.uidl
        uid_validity = self.maildrop.mailbox.uid_validity
        if argument.strip(b" "):
            number, row = self._only_message(argument)
            self._ok(f"{number} {uidl(row.uid, uid_validity).decode('ascii')}")
            return
        self._ok("")
        self.start(
            self._lines(
                self.maildrop.listing(), lambda number, row: b"%d %b\r\n" % (number, uidl(row.uid, uid_validity))
            )
        )

    def _lines(self, listing: list[tuple[int, MessageRow]], line: Callable[[int, MessageRow], bytes]) -> Work:
        for at in range(0, len(listing), LINES_CHUNK):
            self.write(b"".join([line(number, row) for number, row in listing[at : at + LINES_CHUNK]]))
            yield None
        self.write(b".\r\n")

    def retr(self, argument: bytes) -> None:
        _, row = self._only_message(argument)
        content = self._content(row)
        self._ok(f"{len(content)} octets")
        octets = dot_stuffed(content)
        self._retrieved += 1
        self._retrieved_octets += len(octets)
        self.maildrop.fetched.add(row.uid)
        self.write(octets)

    def top(self, argument: bytes) -> None:
        _, row, rest = self._message(argument)
        if not rest:
            raise _Refused("Noise after message number: ")
        match = _WORDS.fullmatch(rest)
        if match is None:
            raise _Refused(f"Invalid size: {_shown(rest)}")
        octets = dot_stuffed(top(self._content(row), min(int(match[0]), 1 << 31)))
        self._ok("")
        self._topped += 1
        self._topped_octets += len(octets)
        self.write(octets)

    def dele(self, argument: bytes) -> None:
        _, row = self._only_message(argument)
        self.maildrop.deleted.add(row.uid)
        self._ok("Marked to be deleted.")

    def rset(self, _argument: bytes) -> None:
        self.maildrop.deleted.clear()
        self._ok("")

    def noop(self, _argument: bytes) -> None:
        self._ok("")

    def quit(self, _argument: bytes) -> None:
        self.start(self._update())

    def _update(self) -> Work:
        """RFC 1939 s6: messages are removed now, and the answer says whether that is done for good."""
        self.end("Logged out")
        self._mark_seen()
        maildrop = self.maildrop
        uids = sorted(maildrop.deleted)
        for at in range(0, len(uids), DELETE_CHUNK):
            self._removed += len(maildrop.mailbox.expunge(uids[at : at + DELETE_CHUNK], self))
            yield None
        if uids:
            yield self.store.flush()
        self._ok("Logging out, messages deleted." if uids else "Logging out.")

    def _mark_seen(self) -> None:
        if self.options.mark_seen:
            self.maildrop.mark_seen()


def _shown(argument: bytes) -> str:
    """What the client wrote, fit for a reply."""
    return "".join(chr(octet) if 32 <= octet < 127 else "?" for octet in argument[:64])


_COMMANDS: Final[Mapping[str, Callable[[Pop3Session, bytes], None]]] = {
    "CAPA": Pop3Session.capa,
    "DELE": Pop3Session.dele,
    "LIST": Pop3Session.list_messages,
    "NOOP": Pop3Session.noop,
    "QUIT": Pop3Session.quit,
    "RETR": Pop3Session.retr,
    "RSET": Pop3Session.rset,
    "STAT": Pop3Session.stat,
    "TOP": Pop3Session.top,
    "UIDL": Pop3Session.uidl,
}
