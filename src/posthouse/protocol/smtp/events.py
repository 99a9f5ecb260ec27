"""What the server's core reports to the service. Every event but `ContentPiece` is answered with exactly one reply."""

import msgspec

from posthouse.core.address import Address
from posthouse.core.reply import Reply
from posthouse.protocol.smtp.parameters import MailParameters
from posthouse.protocol.smtp.states import Verb


class Event(msgspec.Struct, frozen=True, gc=False):
    pass


class Hello(Event, frozen=True):
    """HELO, EHLO or LHLO; a transaction that was open is gone."""

    verb: Verb
    name: str


class Mail(Event, frozen=True):
    """`sender` None is the null reverse-path."""

    sender: Address | None
    parameters: MailParameters


class Rcpt(Event, frozen=True):
    recipient: Address
    notify: tuple[str, ...]
    original: str


class Data(Event, frozen=True):
    """Answer 354 to have the content."""


class ContentPiece(Event, frozen=True):
    """A part of a large message; not answered."""

    data: bytes


class Chunk(Event, frozen=True):
    """A BDAT command that was not the last is complete."""

    octets: int


class EndOfContent(Event, frozen=True):
    """The message is complete: `data` is all of it, or what came after the last `ContentPiece`. With `refusal` it is
    not to be accepted (and `data` is empty). `verb` is DATA or BDAT; `chunk` the octets of the last BDAT."""

    verb: Verb
    data: bytes
    size: int
    refusal: Reply | None
    chunk: int = 0


class Reset(Event, frozen=True):
    pass


class Noop(Event, frozen=True):
    pass


class Help(Event, frozen=True):
    pass


class Quit(Event, frozen=True):
    pass


class Vrfy(Event, frozen=True):
    """`address` as the client wrote it."""

    address: str


class Etrn(Event, frozen=True):
    """`domain` as in RFC 1985 s5, with its "@" or "#" if it has one."""

    domain: str


class StartTls(Event, frozen=True):
    """After the 220 everything that was read in clear text is gone and forgotten."""


class Auth(Event, frozen=True):
    """`response` None: the client sent no initial response."""

    mechanism: str
    response: bytes | None


class AuthResponse(Event, frozen=True):
    """`data` None: the client gave up ("*")."""

    data: bytes | None


class Refusal(Event, frozen=True):
    """What can be refused without asking anybody: `reply` is what to answer. `line` is for the log."""

    verb: Verb
    reply: Reply
    line: str = ""


class Unknown(Event, frozen=True):
    """A first word that is no command of ours."""

    word: str
    line: str
