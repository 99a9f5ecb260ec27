"""One IMAP session: reads commands, looks them up, answers. What they do is in `command/`, one module for each."""

import time
from collections.abc import Callable
from typing import Any

from posthouse.access.conversation import Conversation, Work
from posthouse.access.imap.commands import CAPABILITIES, COMMANDS
from posthouse.access.imap.names import WireNames
from posthouse.access.imap.options import ImapOptions
from posthouse.access.imap.sections import OpenMessage
from posthouse.access.imap.selected import SelectedMailbox
from posthouse.access.imap.specification import Spec, State, Steps
from posthouse.access.imap.statistics import Statistics
from posthouse.access.opening import Opening
from posthouse.protocol.imap.arguments import BadArguments
from posthouse.protocol.imap.flags import FlagTexts
from posthouse.protocol.imap.parser import Command, CommandReader, Line, LiteralWanted, Refused
from posthouse.protocol.imap.response import Condition, Status, bad, no, ok, status_text
from posthouse.protocol.imap.search import CHARSETS, BadCharset
from posthouse.store.interface import MailboxNotFound, StorageFailed, Store, StoreError

_TEXTS = FlagTexts()
"""Shared by all sessions of the process: they show the same few sets of flags."""


class ImapSession(Conversation):
    """See `posthouse.access` for how it is driven."""

    def __init__(
        self,
        store: Store,
        opening: Opening,
        options: ImapOptions,
        *,
        on_closed: Callable[[Any], None] | None = None,
        on_error: Callable[[BaseException, str], None] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(opening, options.pace, on_closed=on_closed, on_error=on_error, monotonic=monotonic)
        self.store = store
        self.options = options
        self.now = now
        self.names = WireNames(options.separator)
        self.texts = _TEXTS
        self.selected: SelectedMailbox | None = None
        self.statistics = Statistics()
        self.open_message: OpenMessage | None = None
        self.idling = False
        self._reader = CommandReader(options.limits)
        self._tag = b"*"
        self._name = ""
        self._spec: Spec | None = None
        self._bad_commands = 0
        self._told_at_s = monotonic()
        self._shutdown_text = ""

    # ── for commands ────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def mailbox(self) -> SelectedMailbox:
        """The selected mailbox; only for commands that the table allows in the selected state."""
        assert self.selected is not None
        return self.selected

    def select(self, selected: SelectedMailbox | None) -> None:
        if self.selected is not None:
            self.selected.close()
        self.selected = selected
        self.open_message = None

    def news(self) -> None:
        """The selected mailbox changed: an idling client is told at once, others at the end of their next command."""
        if self.idling:
            self.kick()

    def begin_idle(self) -> None:
        self.idling = True
        self._reader.expect_line()
        self._told_at_s = self._monotonic()

    # ── Conversation ────────────────────────────────────────────────────────────────────────────────────────────

    def begin(self) -> None:
        capabilities = " ".join(CAPABILITIES)
        if self.opening.tag:
            status = ok("Logged in", f"CAPABILITY {capabilities}")
            self.write(status.line(self.opening.tag.encode("ascii", "replace")))
        else:
            self.write(
                b"* PREAUTH %b\r\n" % status_text(f"Logged in as {self.opening.user}", f"CAPABILITY {capabilities}")
            )

    def feed(self, data: bytes) -> None:
        self._reader.receive_data(data)

    def buffered(self) -> int:
        return self._reader.buffered

    def step(self) -> bool:
        if self.idling and self.selected is not None and self.selected.has_news:
            self.selected.sync(self.write, may_expunge=True)
        event = self._reader.next_event()
        match event:
            case None:
                return False
            case Command():
                self._carry_out(event)
            case LiteralWanted():
                self._want_literal(event)
            case Line():
                self._end_idle(event.data)
            case Refused():
                self.idling = False
                self._tag, self._name, self._spec = event.tag, event.name, None
                self._answer(no(event.text, event.code) if event.code else bad(event.text))
        return True

    def failed(self, error: Exception) -> None:
        self._answer(self._status_of(error))

    def released(self) -> None:
        self.idling = False
        self.select(None)

    def statistics_text(self) -> str:
        return self.statistics.text(self.options.logout_format, self.in_octets, self.out_octets)

    def sweep(self) -> None:
        if self.lost:
            return
        self.open_message = None
        now_s = self._monotonic()
        if now_s - self.last_input_s >= self.options.pace.idle_limit_s and (self.stuck or not self.busy):
            if self.stuck:
                self.abort("Inactivity")
            else:
                self.goodbye("Disconnected for inactivity.", "Inactivity")
            return
        if self.busy or not self.idling:
            return
        if self.selected is not None:
            try:
                self.selected.mailbox.refresh()
            except StoreError as error:
                self.report(error, "while looking for new mail")
        if now_s - self._told_at_s >= self.options.idle_notify_s:
            self._told_at_s = now_s
            self.write(b"* OK Still here\r\n")
        self.kick()

    def shutdown(self, text: str) -> None:
        if self.busy:
            # The command under way is answered first.
            self._shutdown_text = text
        else:
            self.goodbye(text, text)

    def goodbye(self, text: str, reason: str) -> None:
        self.write(b"* BYE %b\r\n" % status_text(text))
        self.end(reason)
        self.kick()

    # ── commands ────────────────────────────────────────────────────────────────────────────────────────────────

    def _carry_out(self, command: Command) -> None:
        self._tag, self._name = command.tag, command.name
        self._spec = spec = COMMANDS.get(command.name)
        if spec is None:
            self._answer(bad(f"Error in IMAP command {command.name}: Unknown command."))
            return
        if spec.state is State.SELECTED and self.selected is None:
            self._answer(bad("No mailbox selected."))
            return
        try:
            outcome = spec.run(self, command.arguments())
        except Exception as error:  # one mapper for all commands, bugs included
            self._answer(self._status_of(error))
            return
        if isinstance(outcome, Status):
            self._answer(outcome)
        elif outcome is not None:
            self.start(self._answered(outcome))

    def _answered(self, work: Steps) -> Work:
        status = yield from work
        self._answer(status)

    def _answer(self, status: Status) -> None:
        spec, self._spec = self._spec, None
        if self.selected is not None and status.condition is not Condition.BAD and self.selected.has_news:
            self.selected.sync(self.write, may_expunge=spec is not None and spec.may_expunge)
        self.write(status.line(self._tag))
        if status.condition is Condition.BAD:
            self._bad_commands += 1
            if self._bad_commands >= self.options.bad_commands:
                self.goodbye("Too many invalid IMAP commands.", "Too many invalid IMAP commands.")
        else:
            self._bad_commands = 0
        if self._shutdown_text:
            self.goodbye(self._shutdown_text, self._shutdown_text)

    def _want_literal(self, event: LiteralWanted) -> None:
        """A message that will be refused anyway is better refused before it is sent."""
        spec = COMMANDS.get(event.name)
        if spec is not None and spec.before_literal is not None:
            self._tag, self._name, self._spec = event.tag, event.name, spec
            try:
                refusal = spec.before_literal(self, event.arguments())
            except Exception as error:  # as in _carry_out
                refusal = self._status_of(error)
            if refusal is not None:
                self._reader.refuse_literal()
                self._answer(refusal)
                return
        self.write(b"+ OK\r\n")

    def _end_idle(self, line: bytes) -> None:
        self.idling = False
        if line.strip().upper() == b"DONE":
            self._answer(ok("Idle completed."))
        else:
            self._answer(bad("Expected DONE."))

    def _status_of(self, error: Exception) -> Status:
        match error:
            case BadArguments():
                return bad(f"Error in IMAP command {self._name}: {error}")
            case BadCharset():
                return no("Unknown charset", f"BADCHARSET ({' '.join(CHARSETS)})")
            case StorageFailed():
                self.report(error, f"{self._name}: {error.detail or error}")
                return no("Not enough disk space", "OVERQUOTA") if error.no_space else no(str(error), error.code)
            case MailboxNotFound():
                # RFC 3501 s6.3.11, s6.4.7: with TRYCREATE the client may create it and try again.
                creates = self._spec is not None and self._spec.creates_target
                return no(self.names.to_wire(str(error)), "TRYCREATE" if creates else error.code)
            case StoreError():
                return no(str(error), error.code)
            case _:
                self.report(error, f"{self._name}: {type(error).__name__}")
                return no("Internal error occurred. Refer to server log for more information.", "SERVERBUG")
