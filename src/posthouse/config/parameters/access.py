"""IMAP and POP3 sessions after login (settings of dovecot.conf)."""

from collections.abc import Callable
from typing import Final

from posthouse.config.parameter import BadValue, Kind, Param, boolean, declare_dovecot, size, text
from posthouse.config.parameters.auth import dovecot_time
from posthouse.core.identifiers import Uid, UidValidity
from posthouse.protocol.pop3.uidl import BadUidlFormat, compile_uidl_format

IMAP_MAX_LINE_LENGTH: Final = declare_dovecot(
    Param(
        "imap_max_line_length",
        size,
        "64 k",
        "Octets in one command, and in its literals that carry no message; lists of UIDs can be long.",
        minimum=8192,
    )
)
IMAP_MAX_MESSAGE_SIZE: Final = declare_dovecot(
    Param(
        "imap_max_message_size",
        size,
        "64 M",
        "Octets in one APPEND: a message is held in memory while it comes in, so there must be an end.",
        minimum=65536,
    )
)
IMAP_IDLE_NOTIFY_INTERVAL: Final = declare_dovecot(
    Param(
        "imap_idle_notify_interval",
        dovecot_time,
        "2 mins",
        'How often an idling client hears "* OK Still here", so that routers do not forget the connection.',
        minimum=1,
    )
)


def _parse_uidl_format(value: str) -> Callable[[Uid, UidValidity], bytes]:
    try:
        return compile_uidl_format(value)
    except BadUidlFormat as error:
        raise BadValue(str(error)) from error


POP3_UIDL_FORMAT: Final = declare_dovecot(
    Param(
        "pop3_uidl_format",
        Kind("format of unique ids", _parse_uidl_format),
        "%08Xu%08Xv",
        "How POP3 names messages, from UID (%u) and UIDVALIDITY (%v); a change makes clients fetch all mail again.",
        raw=True,
    )
)
POP3_NO_FLAG_UPDATES: Final = declare_dovecot(
    Param(
        "pop3_no_flag_updates",
        boolean,
        "no",
        "Do not mark messages that were fetched by POP3 as seen.",
    )
)
IMAP_LOGOUT_FORMAT: Final = declare_dovecot(
    Param(
        "imap_logout_format",
        text,
        "in=%i out=%o deleted=%{deleted} expunged=%{expunged} trashed=%{trashed} hdr_count=%{fetch_hdr_count}"
        " hdr_bytes=%{fetch_hdr_bytes} body_count=%{fetch_body_count} body_bytes=%{fetch_body_bytes}",
        "What the log says of an IMAP session at its end.",
        raw=True,
    )
)
POP3_LOGOUT_FORMAT: Final = declare_dovecot(
    Param(
        "pop3_logout_format",
        text,
        "top=%t/%p, retr=%r/%b, del=%d/%m, size=%s",
        "What the log says of a POP3 session at its end.",
        raw=True,
    )
)
