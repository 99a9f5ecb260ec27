"""The order of SMTP commands, as data.

`AFTER_ACCEPT` answers: this verb was accepted in this state; where are we now? A pair that is missing is out of
sequence and answered 503 5.5.1 (`OUT_OF_SEQUENCE` has better words for the common ones). A refused verb never changes
the state, except where content has already gone by (`AFTER_REFUSAL`). The machine moves when we *reply*, because only
then is the verb accepted.
"""

import enum
from collections.abc import Mapping
from typing import Final

from posthouse.core.reply import Reply


class State(enum.Enum):
    # Members are singletons; the inherited hash is a Python call, and these are looked up for every command.
    __hash__ = object.__hash__

    CONNECTING = "before the greeting"
    CONNECTED = "nobody said hello"
    GREETED = "no transaction"
    MAIL = "a sender, no recipient"
    RCPT = "at least one recipient"
    DATA = "content of DATA is coming"
    CHUNKS = "between BDAT commands"
    SASL = "inside an AUTH exchange"
    CLOSED = "over"


class Verb(enum.Enum):
    __hash__ = object.__hash__

    HELO = "HELO"
    EHLO = "EHLO"
    LHLO = "LHLO"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    BDAT = "BDAT"
    RSET = "RSET"
    NOOP = "NOOP"
    VRFY = "VRFY"
    ETRN = "ETRN"
    HELP = "HELP"
    QUIT = "QUIT"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    # What is answered without being a command:
    CONNECT = "CONNECT"
    CONTENT = "END-OF-MESSAGE"
    RESPONSE = "AUTH response"
    UNKNOWN = "UNKNOWN"


S = State
V = Verb

# fmt: off
AFTER_ACCEPT: Final[Mapping[tuple[State, Verb], State]] = {
    # state         verb         next             RFC 5321
    (S.CONNECTING, V.CONNECT):   S.CONNECTED,   # 3.1
    (S.CONNECTED,  V.HELO):      S.GREETED,     # 4.1.1.1
    (S.CONNECTED,  V.EHLO):      S.GREETED,
    (S.CONNECTED,  V.LHLO):      S.GREETED,     # RFC 2033 s4.1
    (S.GREETED,    V.HELO):      S.GREETED,
    (S.GREETED,    V.EHLO):      S.GREETED,     # 4.1.4: resets, as RSET does
    (S.GREETED,    V.LHLO):      S.GREETED,
    (S.MAIL,       V.HELO):      S.GREETED,
    (S.MAIL,       V.EHLO):      S.GREETED,
    (S.MAIL,       V.LHLO):      S.GREETED,
    (S.RCPT,       V.HELO):      S.GREETED,
    (S.RCPT,       V.EHLO):      S.GREETED,
    (S.RCPT,       V.LHLO):      S.GREETED,
    (S.CHUNKS,     V.HELO):      S.GREETED,
    (S.CHUNKS,     V.EHLO):      S.GREETED,
    (S.CHUNKS,     V.LHLO):      S.GREETED,
    (S.CONNECTED,  V.MAIL):      S.MAIL,        # 4.1.4 asks for HELO first; smtpd_helo_required insists
    (S.GREETED,    V.MAIL):      S.MAIL,        # 4.1.1.2
    (S.MAIL,       V.RCPT):      S.RCPT,        # 4.1.1.3
    (S.RCPT,       V.RCPT):      S.RCPT,
    (S.RCPT,       V.DATA):      S.DATA,        # 4.1.1.4
    (S.DATA,       V.CONTENT):   S.GREETED,
    (S.RCPT,       V.BDAT):      S.CHUNKS,      # RFC 3030 s2
    (S.CHUNKS,     V.BDAT):      S.CHUNKS,
    (S.RCPT,       V.CONTENT):   S.GREETED,     # the first chunk is the last one
    (S.CHUNKS,     V.CONTENT):   S.GREETED,
    (S.CONNECTED,  V.RSET):      S.CONNECTED,   # 4.1.1.5
    (S.GREETED,    V.RSET):      S.GREETED,
    (S.MAIL,       V.RSET):      S.GREETED,
    (S.RCPT,       V.RSET):      S.GREETED,
    (S.CHUNKS,     V.RSET):      S.GREETED,
    (S.CONNECTED,  V.NOOP):      S.CONNECTED,   # 4.1.1.9
    (S.GREETED,    V.NOOP):      S.GREETED,
    (S.MAIL,       V.NOOP):      S.MAIL,
    (S.RCPT,       V.NOOP):      S.RCPT,
    (S.CHUNKS,     V.NOOP):      S.CHUNKS,
    (S.CONNECTED,  V.HELP):      S.CONNECTED,   # 4.1.1.8
    (S.GREETED,    V.HELP):      S.GREETED,
    (S.MAIL,       V.HELP):      S.MAIL,
    (S.RCPT,       V.HELP):      S.RCPT,
    (S.CHUNKS,     V.HELP):      S.CHUNKS,
    (S.CONNECTED,  V.VRFY):      S.CONNECTED,   # 4.1.1.6
    (S.GREETED,    V.VRFY):      S.GREETED,
    (S.MAIL,       V.VRFY):      S.MAIL,
    (S.RCPT,       V.VRFY):      S.RCPT,
    (S.CONNECTED,  V.ETRN):      S.CONNECTED,   # RFC 1985 s5.3: not inside a transaction
    (S.GREETED,    V.ETRN):      S.GREETED,
    (S.GREETED,    V.STARTTLS):  S.CONNECTED,   # RFC 3207 s4.2: everything is forgotten
    (S.MAIL,       V.STARTTLS):  S.CONNECTED,
    (S.RCPT,       V.STARTTLS):  S.CONNECTED,
    (S.GREETED,    V.AUTH):      S.GREETED,     # RFC 4954 s4
    (S.SASL,       V.RESPONSE):  S.GREETED,
    (S.CONNECTED,  V.QUIT):      S.CLOSED,      # 4.1.1.10
    (S.GREETED,    V.QUIT):      S.CLOSED,
    (S.MAIL,       V.QUIT):      S.CLOSED,
    (S.RCPT,       V.QUIT):      S.CLOSED,
    (S.CHUNKS,     V.QUIT):      S.CLOSED,
}

AFTER_CHALLENGE: Final[Mapping[tuple[State, Verb], State]] = {
    # A 334 reply, RFC 4954 s4
    (S.GREETED, V.AUTH):     S.SASL,
    (S.SASL,    V.RESPONSE): S.SASL,
}

AFTER_REFUSAL: Final[Mapping[tuple[State, Verb], State]] = {
    # What was refused has ended all the same.
    (S.CONNECTING, V.CONNECT):  S.CONNECTED,    # 3.1: after a 554 greeting the client may still send QUIT
    (S.DATA,       V.CONTENT):  S.GREETED,
    (S.RCPT,       V.CONTENT):  S.GREETED,
    (S.CHUNKS,     V.CONTENT):  S.GREETED,
    (S.RCPT,       V.BDAT):     S.CHUNKS,       # RFC 3030 s2: the rest of the message is discarded until LAST or RSET
    (S.SASL,       V.RESPONSE): S.GREETED,
}
# fmt: on

MUST_END_GROUP: Final = frozenset(
    # RFC 2920 s3.1: these may only be the last command of a group; what is read behind them was sent too early.
    {V.HELO, V.EHLO, V.LHLO, V.DATA, V.VRFY, V.NOOP, V.STARTTLS, V.AUTH}
)

_NO_RECIPIENT: Final = Reply.of(554, "5.5.1", "Error: no valid recipients")

OUT_OF_SEQUENCE: Final[Mapping[tuple[State, Verb], Reply]] = {
    (S.MAIL, V.MAIL): Reply.of(503, "5.5.1", "Error: nested MAIL command"),
    (S.RCPT, V.MAIL): Reply.of(503, "5.5.1", "Error: nested MAIL command"),
    (S.CHUNKS, V.MAIL): Reply.of(503, "5.5.1", "Error: MAIL after BDAT"),
    (S.CONNECTED, V.RCPT): Reply.of(503, "5.5.1", "Error: need MAIL command"),
    (S.GREETED, V.RCPT): Reply.of(503, "5.5.1", "Error: need MAIL command"),
    (S.CHUNKS, V.RCPT): Reply.of(503, "5.5.1", "Error: RCPT after BDAT"),
    (S.CONNECTED, V.DATA): Reply.of(503, "5.5.1", "Error: need RCPT command"),
    (S.GREETED, V.DATA): Reply.of(503, "5.5.1", "Error: need RCPT command"),
    # RFC 2920 s3.1: in a pipeline this is not the client's fault but the recipients'.
    (S.MAIL, V.DATA): _NO_RECIPIENT,
    (S.CHUNKS, V.DATA): Reply.of(503, "5.5.1", "Error: DATA after BDAT"),
    (S.CONNECTED, V.BDAT): Reply.of(503, "5.5.1", "Error: need RCPT command"),
    (S.GREETED, V.BDAT): Reply.of(503, "5.5.1", "Error: need RCPT command"),
    (S.MAIL, V.BDAT): _NO_RECIPIENT,
    (S.CONNECTED, V.AUTH): Reply.of(503, "5.5.1", "Error: send HELO/EHLO first"),
    (S.MAIL, V.AUTH): Reply.of(503, "5.5.1", "Error: MAIL transaction in progress"),
    (S.RCPT, V.AUTH): Reply.of(503, "5.5.1", "Error: MAIL transaction in progress"),
    (S.CHUNKS, V.AUTH): Reply.of(503, "5.5.1", "Error: MAIL transaction in progress"),
    (S.CONNECTED, V.STARTTLS): Reply.of(503, "5.5.1", "Error: send HELO/EHLO first"),
    (S.MAIL, V.ETRN): Reply.of(503, "5.5.1", "Error: MAIL transaction in progress"),
    (S.RCPT, V.ETRN): Reply.of(503, "5.5.1", "Error: MAIL transaction in progress"),
    (S.CHUNKS, V.ETRN): Reply.of(503, "5.5.1", "Error: MAIL transaction in progress"),
}
BAD_SEQUENCE: Final = Reply.of(503, "5.5.1", "Error: bad sequence of commands")


def refusal_in(state: State, verb: Verb) -> Reply | None:
    """What to say if this verb has no place in this state; None if it has."""
    if (state, verb) in AFTER_ACCEPT:
        return None
    return OUT_OF_SEQUENCE.get((state, verb), BAD_SEQUENCE)
