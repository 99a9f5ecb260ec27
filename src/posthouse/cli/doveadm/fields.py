"""What doveadm fetch shows of a message, and what IMAP has to be asked for it."""

import datetime
import email.errors
import email.header
import email.utils
import re
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from posthouse.cli.doveadm.endings import Fatal

KNOWN: Final = (
    "hdr.<name> body.<section> user mailbox mailbox-guid seq uid flags hdr body text size.physical size.virtual"
    " date.received date.sent date.received.unixtime date.sent.unixtime imap.envelope imap.body imap.bodystructure"
)
MISSING: Final = frozenset(
    [
        "guid",
        "modseq",
        "body.preview",
        "body.snippet",
        "text.utf8",
        "date.saved",
        "date.saved.unixtime",
        "pop3.uidl",
        "pop3.order",
        "refcount",
        "storageid",
    ]
)
"""Dovecot has them."""
_SECTION: Final = re.compile(r"[1-9][0-9]*(?:\.[1-9][0-9]*)*(?:\.(?:HEADER|TEXT|MIME))?", re.IGNORECASE)
_HEADER_NAME: Final = re.compile(r"[!-9;-~]{1,200}")
_DATE: Final = "BODY.PEEK[HEADER.FIELDS (DATE)]"


class Message(msgspec.Struct, frozen=True):
    """`items` as the server sent them, by name."""

    user: str
    mailbox: str
    mailbox_guid: str
    sequence: int
    items: Mapping[str, bytes]

    def text(self, item: str) -> bytes:
        """Of BODY.PEEK[…], with LF as the files have it."""
        return self.items.get(item.replace(".PEEK", "").upper(), b"").replace(b"\r\n", b"\n")


class Field(msgspec.Struct, frozen=True):
    name: str
    items: tuple[str, ...]
    value: Callable[[Message], str]
    is_stream: bool = False


def shown(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")


def parse_fields(text: str) -> tuple[Field, ...]:
    """Raises Fatal."""
    return tuple(_field(name) for name in text.split())


def _field(name: str) -> Field:
    if name in _SIMPLE:
        items, value, is_stream = _SIMPLE[name]
        return Field(name, items, value, is_stream)
    kind, _, rest = name.partition(".")
    if kind == "hdr" and rest:
        is_decoded = rest.endswith(".utf8")
        header = rest.removesuffix(".utf8")
        if _HEADER_NAME.fullmatch(header) and not set(header) & set('(){"\\]%*'):
            item = f"BODY.PEEK[HEADER.FIELDS ({header.upper()})]"
            return Field(name, (item,), lambda message: _header(message.text(item), is_decoded=is_decoded))
    if name in MISSING or kind == "binary":
        raise Fatal(f"fetch field {name} is not supported by Posthouse")
    if kind == "body" and _SECTION.fullmatch(rest):
        section = f"BODY[{rest.upper()}]"
        items = (f"BODY.PEEK[{rest.upper()}]",)
        return Field(name, items, lambda message: shown(message.items.get(section, b"")), is_stream=True)
    raise Fatal(f"Unknown fetch field: {name}")


def _header(octets: bytes, *, is_decoded: bool) -> str:
    """The values, one under the other, as they stand."""
    values: list[str] = []
    for line in shown(octets).split("\n"):
        if line[:1] in (" ", "\t") and values:
            values[-1] += f"\n{line}"
        elif line:
            values.append(line.partition(":")[2].lstrip(" \t"))
    if is_decoded:
        values = [_decoded(re.sub(r"\n[ \t]+", " ", one)) for one in values]
    return "\n".join(values)


def _decoded(text: str) -> str:
    try:
        return str(email.header.make_header(email.header.decode_header(text)))
    except (ValueError, LookupError, email.errors.MessageError):
        return text


def _internal(message: Message) -> float:
    text = shown(message.items.get("INTERNALDATE", b""))
    return internal_date(text)


def internal_date(text: str) -> float:
    """ "17-Jul-1996 02:44:25 -0700"; 0 if it is none."""
    return _seconds(email.utils.parsedate_tz(text.strip().replace("-", " ", 2)))


def _seconds(parsed: tuple[int | None, ...] | None) -> float:
    """0 for what is no time."""
    try:
        at_s = 0.0 if parsed is None else float(email.utils.mktime_tz(parsed))  # type: ignore[arg-type]
        datetime.datetime.fromtimestamp(at_s)  # noqa: DTZ006 - can it be shown?
    except (ValueError, OverflowError, OSError):
        return 0.0
    return at_s


def _sent(message: Message) -> tuple[float, int]:
    """Time, and minutes east of Greenwich."""
    parsed = email.utils.parsedate_tz(_header(message.text(_DATE), is_decoded=False))
    at_s = _seconds(parsed)
    return at_s, ((parsed[9] or 0) // 60 if parsed is not None and at_s else 0)


def _local(at_s: float) -> str:
    return datetime.datetime.fromtimestamp(at_s).strftime("%Y-%m-%d %H:%M:%S")  # noqa: DTZ006 - as Dovecot shows it


def _sent_text(message: Message) -> str:
    at_s, zone = _sent(message)
    sign = "-" if zone < 0 else "+"
    return f"{_local(at_s)} ({sign}{abs(zone) // 60:02}{abs(zone) % 60:02})"


def _flags(message: Message) -> str:
    return shown(message.items.get("FLAGS", b"")).strip("()")


def _inside(item: str) -> Callable[[Message], str]:
    """Without the outer parentheses, as Dovecot shows it."""
    return lambda message: shown(message.items.get(item, b""))[1:-1]


_SIMPLE: Final[Mapping[str, tuple[tuple[str, ...], Callable[[Message], str], bool]]] = {
    "user": ((), lambda message: message.user, False),
    "mailbox": ((), lambda message: message.mailbox, False),
    "mailbox-guid": ((), lambda message: message.mailbox_guid, False),
    "seq": ((), lambda message: str(message.sequence), False),
    "uid": (("UID",), lambda message: shown(message.items.get("UID", b"")), False),
    "flags": (("FLAGS",), _flags, False),
    "hdr": (("BODY.PEEK[HEADER]",), lambda message: shown(message.text("BODY[HEADER]")), True),
    "body": (("BODY.PEEK[TEXT]",), lambda message: shown(message.text("BODY[TEXT]")), True),
    "text": (("BODY.PEEK[]",), lambda message: shown(message.text("BODY[]")), True),
    "size.physical": (("BODY.PEEK[]",), lambda message: str(len(message.text("BODY[]"))), False),
    "size.virtual": (("RFC822.SIZE",), lambda message: shown(message.items.get("RFC822.SIZE", b"")), False),
    "date.received": (("INTERNALDATE",), lambda message: _local(_internal(message)), False),
    "date.received.unixtime": (("INTERNALDATE",), lambda message: str(int(_internal(message))), False),
    "date.sent": ((_DATE,), _sent_text, False),
    "date.sent.unixtime": ((_DATE,), lambda message: str(int(_sent(message)[0])), False),
    "imap.envelope": (("ENVELOPE",), _inside("ENVELOPE"), False),
    "imap.body": (("BODY",), _inside("BODY"), False),
    "imap.bodystructure": (("BODYSTRUCTURE",), _inside("BODYSTRUCTURE"), False),
}
