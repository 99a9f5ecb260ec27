"""What the pre-login cores of IMAP and POP3 share: their options, and the events they hand to the login service.

A core is fed with octets and asked for events. After `Authenticate` or `Continue` it reads no further command until
it is told how that went (`challenge`, `refused`); a login that succeeds ends it: the session goes on in another
process, which sends the tagged answer, and `unread()` gives back what came in behind the command.
"""

import binascii
import enum
import re
from dataclasses import dataclass, field
from typing import Final, Protocol

from posthouse.protocol.sasl.known import PLAINTEXT_MECHANISMS, offered

_BASE64: Final = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?\Z")
_HTTP: Final = re.compile(rb"(?:GET|POST|HEAD|PUT|DELETE|OPTIONS|CONNECT|TRACE|PATCH|PRI) ")


@dataclass(frozen=True, slots=True)
class Channel:
    """What the TLS connection proves: its bindings by type, the user name in the client's verified certificate."""

    bindings: tuple[tuple[str, bytes], ...] = ()
    certified: str = ""
    has_certificate: bool = False
    """Verified; `certified` may be empty all the same."""


NO_CHANNEL: Final = Channel()


@dataclass(frozen=True, slots=True)
class LoginOptions:
    """The same for all connections of a listener."""

    greeting: str = "Posthouse ready."
    mechanisms: tuple[str, ...] = ("PLAIN", "LOGIN")
    knows_tokens: bool = False
    """Is there a database that can check bearer tokens?"""
    offers_tls: bool = False
    requires_tls: bool = False
    refuses_plaintext: bool = True
    line_limit: int = 8192
    literal_limit: int = 4096
    max_bad_commands: int = 3
    max_commands: int = 1000
    id_fields: tuple[tuple[str, str], ...] = (("name", "Posthouse"),)
    texts: dict[tuple[str, bool, bool, bool, bool], bytes] = field(default_factory=dict, compare=False)
    """Ready-made capability lists, by protocol, TLS, security, channel bindings and certificate."""

    def may_use_plaintext(self, is_secured: bool) -> bool:
        return is_secured or not (self.refuses_plaintext or self.requires_tls)

    def usable_mechanisms(self, is_secured: bool, channel: Channel = NO_CHANNEL) -> tuple[str, ...]:
        if not is_secured and self.requires_tls:
            return ()
        usable = offered(
            self.mechanisms,
            knows_tokens=self.knows_tokens,
            has_bindings=bool(channel.bindings),
            certified=channel.certified,
        )
        if not is_secured and self.refuses_plaintext:
            usable = [name for name in usable if name not in PLAINTEXT_MECHANISMS]
        return tuple(usable)


# ── events ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Send:
    data: bytes


@dataclass(frozen=True, slots=True)
class StartTls:
    """Send `data`, then negotiate; whatever is buffered is already forgotten. Then call `tls_started()`."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Authenticate:
    mechanism: str
    response: bytes | None


@dataclass(frozen=True, slots=True)
class Continue:
    response: bytes


@dataclass(frozen=True, slots=True)
class Cancel:
    """The client gave up an exchange that was under way; `data` is the answer."""

    data: bytes


class Slip(enum.Enum):
    """Attempts that never reach the auth service; they count in the log line of the end."""

    DISABLED_PLAINTEXT = "tried to use disallowed plaintext auth"
    UNSUPPORTED_MECHANISM = "tried to use unsupported auth mechanism"
    MALFORMED = "auth failed"


@dataclass(frozen=True, slots=True)
class Slipped:
    """Send `data`; the client tried to authenticate in a way that cannot be."""

    slip: Slip
    mechanism: str
    data: bytes
    user: str = ""


@dataclass(frozen=True, slots=True)
class Close:
    """Send `data` and close. `reason` is for the log: "Aborted login by logging out"."""

    data: bytes
    reason: str


Event = Send | StartTls | Authenticate | Continue | Cancel | Slipped | Close


class Refusal(enum.Enum):
    """Why a login that reached the auth service or the mailbox did not succeed."""

    WRONG = "wrong"
    DISABLED = "disabled"
    MALFORMED = "malformed"
    TEMPORARY = "temporary"
    LIMIT = "limit"
    """The user has too many sessions."""
    INTERNAL = "internal"
    """The password was right, but the mailbox could not be opened; the connection ends."""


class Ending(enum.Enum):
    """Why the server ends a connection; the core has the words for it."""

    IDLE = "idle"
    IDLE_IN_EXCHANGE = "idle in exchange"
    FULL = "full"
    SHUTDOWN = "shutdown"


class State(enum.Enum):
    """Of a core."""

    READING = "reading"
    WAITING = "waiting"
    """For an answer of the auth service, or for the end."""
    HTTP = "http"
    """It began as a request for a web page."""


class LoginCore(Protocol):
    """What the login service needs of a core."""

    channel: Channel
    """Set before the first octet that comes through TLS."""

    @property
    def tag(self) -> str:
        """Of the command that logs in; mailbox answers it. "" for POP3."""
        ...

    @property
    def buffered(self) -> int: ...
    def greeting(self) -> bytes: ...
    def receive_data(self, data: bytes) -> None: ...
    def next_event(self) -> Event | None: ...
    def tls_started(self) -> None: ...
    def challenge(self, data: bytes) -> bytes: ...
    def refused(self, why: Refusal, text: str = "") -> bytes: ...
    def unread(self) -> bytes: ...
    def ending(self, why: Ending) -> bytes: ...


# ── shared parts of the cores ───────────────────────────────────────────────────────────────────────────────────────


class BadBase64(ValueError):
    pass


def decode_base64(text: bytes) -> bytes:
    """RFC 4648 s4, strictly: no white space, correct padding. "=" alone is the empty response (RFC 4959 s3)."""
    if text == b"=":
        return b""
    if not _BASE64.match(text):
        raise BadBase64
    return binascii.a2b_base64(text)


def encode_base64(data: bytes) -> bytes:
    return binascii.b2a_base64(data, newline=False)


def speaks_http(data: bytes) -> bool:
    """A browser, or a web page that makes one send our commands in its request's body: never let it get that far."""
    return _HTTP.match(data) is not None


def name_in_plain(response: bytes) -> str:
    """The user name in a PLAIN message, for the log of a failure."""
    fields = response.split(b"\0")
    return fields[1].decode("utf-8", "replace") if len(fields) == 3 else ""
