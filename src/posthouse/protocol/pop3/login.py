"""POP3 before authentication: the AUTHORIZATION state (RFC 1939 s4), sans-IO.

APOP is not offered: it needs passwords stored in clear text. Answers are worded as Dovecot's.
"""

from collections.abc import Callable, Mapping
from typing import Final

from posthouse.protocol.login import (
    NO_CHANNEL,
    Authenticate,
    BadBase64,
    Cancel,
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

MAXIMAL_NAME: Final = 1024
"""Octets of a name in USER."""

_REFUSALS: Final = {
    # RFC 3206 s4: [AUTH] says that the credentials are wrong, [SYS/TEMP] that trying again later may help; [IN-USE]
    # is of RFC 2449 s8.1.1, and what Dovecot says when a user has too many sessions.
    Refusal.WRONG: "[AUTH] Authentication failed.",
    Refusal.DISABLED: "[AUTH] This account is disabled.",
    Refusal.MALFORMED: "[AUTH] Authentication failed.",
    Refusal.TEMPORARY: "[SYS/TEMP] Temporary authentication failure.",
    Refusal.LIMIT: "[IN-USE] Maximum number of connections from user+IP exceeded.",
    Refusal.INTERNAL: "[SYS/TEMP] Internal login failure. Refer to server log for more information.",
}
_ENDINGS: Final = {
    Ending.IDLE: b"-ERR Disconnected for inactivity.\r\n",
    Ending.IDLE_IN_EXCHANGE: b"-ERR Disconnected for inactivity during authentication.\r\n",
    Ending.FULL: b"-ERR [SYS/TEMP] Connection queue full\r\n",
    Ending.SHUTDOWN: b"-ERR [SYS/TEMP] Server shutting down.\r\n",
}
_DISABLED: Final = b"-ERR [AUTH] Plaintext authentication disallowed on non-secure (SSL/TLS) connections.\r\n"


class Pop3Login:
    """One connection up to its login. `is_secured` covers TLS and connections that count as safe without it."""

    tag: Final = ""

    def __init__(self, options: LoginOptions, *, is_tls: bool, is_secured: bool) -> None:
        self._options = options
        self._is_tls = is_tls
        self._is_secured = is_secured
        self._buffer = bytearray()
        self._searched = 0
        self._state = State.READING
        self._mechanism = ""
        """Of the exchange that waits for the client's response."""
        self._user = b""
        self._bad = 0
        self._commands = 0
        self.channel = NO_CHANNEL
        """Set before the first octet that comes through TLS."""

    @property
    def buffered(self) -> int:
        return len(self._buffer)

    def greeting(self) -> bytes:
        return b"+OK %b\r\n" % self._options.greeting.encode("utf-8", "replace")

    def receive_data(self, data: bytes) -> None:
        if self._commands == 0 and not self._buffer and speaks_http(data):
            self._state = State.HTTP
        self._buffer += data

    def unread(self) -> bytes:
        data = bytes(self._buffer)
        self._buffer.clear()
        self._searched = 0
        return data

    # ── what the login service tells ──

    def tls_started(self) -> None:
        # RFC 2595 s4: what was known before TLS is discarded.
        self._is_tls = self._is_secured = True
        self._user = b""
        self.unread()

    def challenge(self, data: bytes) -> bytes:
        self._state = State.READING
        return b"+ %b\r\n" % encode_base64(data)

    def refused(self, why: Refusal, text: str = "") -> bytes:
        self._state = State.READING
        self._mechanism = ""
        words = f"[IN-USE] {text}" if text and why is Refusal.LIMIT else _REFUSALS[why]
        return b"-ERR %b\r\n" % words.encode("utf-8", "replace")

    def ending(self, why: Ending) -> bytes:
        return _ENDINGS[why]

    # ── events ──

    def next_event(self) -> Event | None:
        if self._state is not State.READING:
            if self._state is State.HTTP:
                return self._end(b"-ERR This is not a web server.\r\n", "HTTP request")
            return None
        end = self._buffer.find(b"\n", self._searched)
        limit = self._options.line_limit
        if end > limit or (end < 0 and len(self._buffer) > limit):
            return self._end(b"-ERR Input buffer full, aborting\r\n", "Input buffer full")
        if end < 0:
            self._searched = len(self._buffer)
            return None
        line = bytes(self._buffer[:end]).removesuffix(b"\r")
        del self._buffer[: end + 1]
        self._searched = 0
        if self._mechanism:
            return self._on_response(line)
        return self._on_command(line)

    def _end(self, data: bytes, reason: str) -> Close:
        self._state = State.WAITING
        return Close(data, reason)

    def _on_command(self, line: bytes) -> Event:
        self._commands += 1
        if self._commands > self._options.max_commands:
            return self._end(b"-ERR Too many commands before login.\r\n", "Too many commands")
        verb, _, argument = line.partition(b" ")
        handler = _COMMANDS.get(verb.upper())
        if handler is None or b"\0" in line or b"\r" in line:
            return self._on_bad(b"-ERR Unknown command.\r\n")
        event = handler(self, argument)
        if not (isinstance(event, Send) and event.data.startswith(b"-")):
            self._bad = 0
        return event

    def _on_bad(self, answer: bytes) -> Event:
        self._bad += 1
        if self._bad >= self._options.max_bad_commands:
            return self._end(answer + b"-ERR Too many invalid bad commands.\r\n", "Too many bad commands")
        return Send(answer)

    # ── commands ──

    def _capa(self, argument: bytes) -> Event:
        # RFC 2449 s5; what holds after login is listed too (TOP, UIDL), as s3 wants.
        del argument
        key = ("pop3", self._is_tls, self._is_secured, bool(self.channel.bindings), bool(self.channel.certified))
        known = self._options.texts.get(key)
        if known is None:
            lines = ["+OK", "CAPA", "TOP", "UIDL", "RESP-CODES", "PIPELINING", "AUTH-RESP-CODE"]
            if self._options.offers_tls and not self._is_tls:
                lines.append("STLS")
            if self._options.may_use_plaintext(self._is_secured):
                lines.append("USER")
            if mechanisms := self._options.usable_mechanisms(self._is_secured, self.channel):
                lines.append("SASL " + " ".join(mechanisms))
            known = self._options.texts[key] = "\r\n".join([*lines, ".", ""]).encode("ascii")
        return Send(known)

    def _noop(self, argument: bytes) -> Event:
        del argument
        return Send(b"+OK\r\n")

    def _quit(self, argument: bytes) -> Event:
        del argument
        return self._end(b"+OK Logging out\r\n", "Aborted login by logging out")

    def _stls(self, argument: bytes) -> Event:
        del argument
        if self._is_tls:
            return Send(b"-ERR TLS is already active.\r\n")
        if not self._options.offers_tls:
            return Send(b"-ERR TLS support isn't enabled.\r\n")
        # What a man in the middle put behind the command must never run inside TLS (CVE-2011-0411 and its relatives).
        self.unread()
        return StartTls(b"+OK Begin TLS negotiation now.\r\n")

    def _user_command(self, argument: bytes) -> Event:
        if not self._options.may_use_plaintext(self._is_secured):
            return Slipped(Slip.DISABLED_PLAINTEXT, "PLAIN", _DISABLED, argument.decode("utf-8", "replace"))
        if not argument or len(argument) > MAXIMAL_NAME:
            return Send(b"-ERR Invalid username.\r\n")
        self._user = argument
        return Send(b"+OK\r\n")

    def _pass_command(self, argument: bytes) -> Event:
        # RFC 1939 s7: spaces are part of the password.
        if not self._options.may_use_plaintext(self._is_secured):
            return Slipped(Slip.DISABLED_PLAINTEXT, "PLAIN", _DISABLED)
        if not self._user:
            return Send(b"-ERR No username given.\r\n")
        user, self._user = self._user, b""
        self._state = State.WAITING
        return Authenticate("PLAIN", b"\0%b\0%b" % (user, argument))

    def _auth(self, argument: bytes) -> Event:
        # RFC 5034 s4
        words = argument.split()
        usable = self._options.usable_mechanisms(self._is_secured, self.channel)
        if not words:
            names = "".join(f"{name}\r\n" for name in usable)
            return Send(f"+OK\r\n{names}.\r\n".encode("ascii"))
        mechanism = words[0].decode("ascii", "replace").upper()
        if mechanism not in self._options.usable_mechanisms(True, self.channel):
            return Slipped(
                Slip.UNSUPPORTED_MECHANISM, mechanism, b"-ERR [AUTH] Unsupported authentication mechanism.\r\n"
            )
        if mechanism not in usable:
            return Slipped(Slip.DISABLED_PLAINTEXT, mechanism, b"-ERR [AUTH] Plaintext authentication disabled.\r\n")
        response: bytes | None = None
        if len(words) > 1:
            try:
                response = decode_base64(words[1])
                if len(words) > 2:
                    raise BadBase64
            except BadBase64:
                return Slipped(Slip.MALFORMED, mechanism, b"-ERR [AUTH] Invalid base64 data in initial response\r\n")
        self._mechanism = mechanism
        self._state = State.WAITING
        return Authenticate(mechanism, response)

    def _on_response(self, line: bytes) -> Event:
        if line == b"*":
            self._mechanism = ""
            return Cancel(b"-ERR Authentication aborted by client.\r\n")
        try:
            response = decode_base64(line)
        except BadBase64:
            mechanism, self._mechanism = self._mechanism, ""
            return Slipped(Slip.MALFORMED, mechanism, b"-ERR Invalid base64 data in AUTH response\r\n")
        self._state = State.WAITING
        return Continue(response)


_COMMANDS: Final[Mapping[bytes, Callable[[Pop3Login, bytes], Event]]] = {
    b"CAPA": Pop3Login._capa,
    b"NOOP": Pop3Login._noop,
    b"QUIT": Pop3Login._quit,
    b"STLS": Pop3Login._stls,
    b"USER": Pop3Login._user_command,
    b"PASS": Pop3Login._pass_command,
    b"AUTH": Pop3Login._auth,
}
"""What is allowed before login; everything else is refused."""
