"""IMAP before authentication (RFC 3501 s6.1, s6.2), sans-IO.

Knows no mailbox and no password: LOGIN and AUTHENTICATE become SASL messages for the auth service. Answers are worded
as Dovecot's, because clients and monitoring have learnt them.
"""

from collections.abc import Callable, Mapping
from typing import Final

from posthouse.protocol.imap.arguments import BadArguments
from posthouse.protocol.imap.parser import Command, CommandReader, Line, LiteralWanted, ReaderLimits, Refused
from posthouse.protocol.login import (
    NO_CHANNEL,
    Authenticate,
    BadBase64,
    Cancel,
    Channel,
    Close,
    Continue,
    Ending,
    Event,
    LoginOptions,
    Refusal,
    Send,
    Slip,
    Slipped,
    StartTls,
    State,
    decode_base64,
    encode_base64,
    speaks_http,
)

MAXIMAL_LITERALS: Final = 64
"""In one command before login: ID may have 30 pairs (RFC 2971 s3.3), each as literal."""

_BAD: Final = b" BAD Error in IMAP command received by server.\r\n"
_TOO_MANY: Final = b"* BYE Too many invalid IMAP commands.\r\n"
_REFUSALS: Final = {
    # RFC 5530 s3
    Refusal.WRONG: "NO [AUTHENTICATIONFAILED] Authentication failed.",
    Refusal.DISABLED: "NO [AUTHORIZATIONFAILED] This account is disabled.",
    Refusal.MALFORMED: "NO [AUTHENTICATIONFAILED] Authentication failed.",
    Refusal.TEMPORARY: "NO [UNAVAILABLE] Temporary authentication failure.",
    Refusal.LIMIT: "NO [LIMIT] Maximum number of connections from user+IP exceeded.",
    Refusal.INTERNAL: "NO [UNAVAILABLE] Internal login failure. Refer to server log for more information.",
}
_ENDINGS: Final = {
    Ending.IDLE: b"* BYE Disconnected for inactivity.\r\n",
    Ending.IDLE_IN_EXCHANGE: b"* BYE Disconnected for inactivity during authentication.\r\n",
    Ending.FULL: b"* BYE Connection queue full\r\n",
    Ending.SHUTDOWN: b"* BYE Server shutting down.\r\n",
}


def capabilities(options: LoginOptions, *, is_tls: bool, is_secured: bool, channel: Channel = NO_CHANNEL) -> bytes:
    """What is true before login; the list after login is the session's."""
    key = ("imap", is_tls, is_secured, bool(channel.bindings), bool(channel.certified))
    known = options.texts.get(key)
    if known is None:
        words = ["IMAP4rev1", "SASL-IR", "LOGIN-REFERRALS", "ID", "ENABLE", "IDLE", "LITERAL+"]
        if options.offers_tls and not is_tls:
            words.append("STARTTLS")
        if not options.may_use_plaintext(is_secured):
            words.append("LOGINDISABLED")
        words += [f"AUTH={name}" for name in options.usable_mechanisms(is_secured, channel)]
        known = options.texts[key] = " ".join(words).encode("ascii")
    return known


class ImapLogin:
    """One connection up to its login. `is_secured` covers TLS and connections that count as safe without it."""

    def __init__(self, options: LoginOptions, *, is_tls: bool, is_secured: bool) -> None:
        self._options = options
        self._is_tls = is_tls
        self._is_secured = is_secured
        self._reader = self._new_reader()
        self._tag = b"*"
        self._state = State.READING
        self._mechanism = ""
        self._bad = 0
        self._commands = 0
        self._octets = 0
        """Received since the last event: a line or literal that never ends."""
        self._has_begun = False
        self.channel = NO_CHANNEL
        """Set before the first octet that comes through TLS."""

    def _new_reader(self) -> CommandReader:
        return CommandReader(
            ReaderLimits(line=self._options.line_limit, literal=self._options.literal_limit, literals=MAXIMAL_LITERALS)
        )

    @property
    def tag(self) -> str:
        return self._tag.decode("ascii")

    @property
    def buffered(self) -> int:
        return self._reader.buffered

    def greeting(self) -> bytes:
        words = self._capabilities()
        return b"* OK [CAPABILITY %b] %b\r\n" % (words, self._options.greeting.encode("utf-8", "replace"))

    def _capabilities(self) -> bytes:
        return capabilities(self._options, is_tls=self._is_tls, is_secured=self._is_secured, channel=self.channel)

    def receive_data(self, data: bytes) -> None:
        if not self._has_begun and speaks_http(data):
            self._state = State.HTTP
        self._has_begun = True
        self._octets += len(data)
        self._reader.receive_data(data)

    def unread(self) -> bytes:
        return self._reader.unread()

    # ── what the login service tells ──

    def tls_started(self) -> None:
        # RFC 3501 s6.2.1: what was known before TLS is discarded, capabilities are asked for again.
        self._is_tls = self._is_secured = True
        self._reader = self._new_reader()
        self._octets = 0

    def challenge(self, data: bytes) -> bytes:
        self._state = State.READING
        self._reader.expect_line()
        return b"+ %b\r\n" % encode_base64(data)

    def refused(self, why: Refusal, text: str = "") -> bytes:
        self._state = State.READING
        self._mechanism = ""
        words = _REFUSALS[why]
        if text and why is Refusal.LIMIT:
            words = f"NO [LIMIT] {text}"
        return b"%b %b\r\n" % (self._tag, words.encode("utf-8", "replace"))

    def ending(self, why: Ending) -> bytes:
        return _ENDINGS[why]

    # ── events ──

    def next_event(self) -> Event | None:
        if self._state is not State.READING:
            if self._state is State.HTTP:
                self._state = State.WAITING
                return Close(b"* BYE This is not a web server.\r\n", "HTTP request")
            return None
        found = self._reader.next_event()
        if found is None:
            # One command may hold both limits in full; more without an event is a flood.
            if self._octets > 2 * (self._options.line_limit + self._options.literal_limit):
                self._state = State.WAITING
                return Close(b"* BYE Input buffer full, aborting\r\n", "Input buffer full")
            return None
        self._octets = 0
        match found:
            case Command():
                return self._on_command(found)
            case LiteralWanted():
                return Send(b"+ OK\r\n")
            case Line(data):
                return self._on_response(data)
            case Refused():
                if self._mechanism:
                    # An over-long response to a challenge ends the exchange.
                    return self._slip(Slip.MALFORMED, b"BAD Authentication response too large")
                return self._on_bad(found.tag)

    def _on_command(self, command: Command) -> Event:
        self._commands += 1
        if self._commands > self._options.max_commands:
            self._state = State.WAITING
            return Close(b"* BYE Too many commands before login.\r\n", "Too many commands")
        handler = _COMMANDS.get(command.name)
        if handler is None:
            return self._on_bad(command.tag)
        self._tag = command.tag
        try:
            event = handler(self, command)
        except BadArguments:
            return self._on_bad(command.tag)
        self._bad = 0
        return event

    def _on_bad(self, tag: bytes) -> Event:
        self._bad += 1
        if self._bad >= self._options.max_bad_commands:
            self._state = State.WAITING
            return Close(_TOO_MANY, "Too many invalid commands")
        return Send(tag + _BAD)

    def _answer(self, text: bytes) -> bytes:
        return b"%b %b\r\n" % (self._tag, text)

    # ── commands ──

    def _capability(self, command: Command) -> Event:
        command.arguments().end()
        words = self._capabilities()
        return Send(
            b"* CAPABILITY %b\r\n" % words
            + self._answer(b"OK Pre-login capabilities listed, post-login capabilities have more.")
        )

    def _noop(self, command: Command) -> Event:
        command.arguments().end()
        return Send(self._answer(b"OK NOOP completed."))

    def _logout(self, command: Command) -> Event:
        command.arguments().end()
        self._state = State.WAITING
        return Close(b"* BYE Logging out\r\n" + self._answer(b"OK Logout completed."), "Aborted login by logging out")

    def _enable(self, command: Command) -> Event:
        # RFC 5161 s3.1 allows ENABLE only after login; Dovecot answers it, and clients have come to send it.
        del command
        return Send(b"* ENABLED\r\n" + self._answer(b"OK ENABLE ignored in non-authenticated state."))

    def _id(self, command: Command) -> Event:
        # RFC 2971 s3.1: ("name" "value" ...) or NIL. What clients say is not kept.
        arguments = command.arguments()
        arguments.space()
        if arguments.maybe(b"("):
            first = True
            while not arguments.maybe(b")"):
                if not first:
                    arguments.space()
                first = False
                arguments.string()
                arguments.space()
                arguments.nstring()
                if arguments.at_end():
                    raise BadArguments("Missing ')'.")
        elif arguments.nstring() is not None:
            raise BadArguments("NIL or a list is expected.")
        arguments.end()
        fields = " ".join(f'"{name}" "{value}"' for name, value in self._options.id_fields)
        ours = f"({fields})" if fields else "NIL"
        return Send(f"* ID {ours}\r\n".encode("ascii", "replace") + self._answer(b"OK ID completed."))

    def _starttls(self, command: Command) -> Event:
        command.arguments().end()
        if self._is_tls:
            return Send(self._answer(b"BAD TLS is already active."))
        if not self._options.offers_tls:
            return Send(self._answer(b"BAD TLS support isn't enabled."))
        # What a man in the middle put behind the command must never run inside TLS (CVE-2011-0411 and its relatives).
        self._reader.unread()
        return StartTls(self._answer(b"OK Begin TLS negotiation now."))

    def _login(self, command: Command) -> Event:
        arguments = command.arguments()
        arguments.space()
        user = arguments.astring()
        arguments.space()
        password = arguments.astring()
        arguments.end()
        if not self._options.may_use_plaintext(self._is_secured):
            return Slipped(
                Slip.DISABLED_PLAINTEXT,
                "PLAIN",
                b"* BAD [ALERT] Plaintext authentication not allowed without SSL/TLS, but your client did it anyway. "
                b"If anyone was listening, the password was exposed.\r\n"
                + self._answer(
                    b"NO [PRIVACYREQUIRED] Plaintext authentication disallowed on non-secure (SSL/TLS) connections."
                ),
                user.decode("utf-8", "replace"),
            )
        if b"\0" in user or b"\0" in password:
            raise BadArguments("NUL in a name or password.")
        self._state = State.WAITING
        return Authenticate("PLAIN", b"\0%b\0%b" % (user, password))

    def _authenticate(self, command: Command) -> Event:
        arguments = command.arguments()
        arguments.space()
        mechanism = arguments.keyword()
        initial: bytes | None = None
        if arguments.maybe_space():
            # RFC 4959 s3: the initial response, base64 or "=".
            initial = arguments.astring()
        arguments.end()
        self._mechanism = mechanism
        if mechanism not in self._options.usable_mechanisms(True, self.channel):
            return self._slip(Slip.UNSUPPORTED_MECHANISM, b"NO [ALERT] Unsupported authentication mechanism.")
        if mechanism not in self._options.usable_mechanisms(self._is_secured, self.channel):
            # RFC 5530 s3
            return self._slip(Slip.DISABLED_PLAINTEXT, b"NO [PRIVACYREQUIRED] Plaintext authentication disabled.")
        response: bytes | None = None
        if initial is not None:
            try:
                response = decode_base64(initial)
            except BadBase64:
                return self._slip(Slip.MALFORMED, b"BAD Invalid base64 data in initial response")
        self._state = State.WAITING
        return Authenticate(mechanism, response)

    def _on_response(self, line: bytes) -> Event:
        if line == b"*":
            # RFC 3501 s6.2.2
            self._mechanism = ""
            return Cancel(self._answer(b"BAD Authentication aborted by client."))
        try:
            response = decode_base64(line) if line != b"=" else b""
        except BadBase64:
            return self._slip(Slip.MALFORMED, b"BAD Invalid base64 data in AUTHENTICATE response")
        self._state = State.WAITING
        return Continue(response)

    def _slip(self, slip: Slip, answer: bytes) -> Slipped:
        mechanism, self._mechanism = self._mechanism, ""
        return Slipped(slip, mechanism, self._answer(answer))


_COMMANDS: Final[Mapping[str, Callable[[ImapLogin, Command], Event]]] = {
    "CAPABILITY": ImapLogin._capability,
    "NOOP": ImapLogin._noop,
    "LOGOUT": ImapLogin._logout,
    "ID": ImapLogin._id,
    "ENABLE": ImapLogin._enable,
    "STARTTLS": ImapLogin._starttls,
    "LOGIN": ImapLogin._login,
    "AUTHENTICATE": ImapLogin._authenticate,
}
"""What is allowed before login; everything else is BAD."""
