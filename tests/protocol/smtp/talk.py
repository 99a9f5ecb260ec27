"""A session with the core that accepts everything, as a service without opinions would."""

from posthouse.core.reply import Reply
from posthouse.protocol.sasl import lines as sasl
from posthouse.protocol.smtp import replies
from posthouse.protocol.smtp.events import (
    Auth,
    AuthResponse,
    Chunk,
    ContentPiece,
    Data,
    EndOfContent,
    Event,
    Help,
    Quit,
    Refusal,
    StartTls,
    Unknown,
)
from posthouse.protocol.smtp.options import Options
from posthouse.protocol.smtp.server import SmtpServer
from posthouse.protocol.smtp.states import State


def consent(event: Event) -> Reply:
    match event:
        case Refusal(reply=reply):
            return reply
        case Unknown():
            return replies.NOT_RECOGNIZED
        case Data():
            return replies.SEND_CONTENT
        case EndOfContent(refusal=Reply() as refusal):
            return refusal
        case Quit():
            return replies.BYE
        case StartTls():
            return replies.READY_FOR_TLS
        case Help():
            return Reply.of(214, "2.0.0", "none")
        case Auth(response=None):
            return sasl.challenge_reply(b"")
        case Auth():
            return replies.AUTHENTICATED
        case AuthResponse(data=None):
            return replies.AUTH_ABORTED
        case AuthResponse():
            return replies.AUTHENTICATED
        case Chunk(octets=octets):
            return Reply.of(250, "2.0.0", f"Ok: {octets} bytes")
        case _:
            return replies.OK


class Talk:
    """`messages` are the contents that arrived whole, `events` everything."""

    def __init__(self, options: Options | None = None, *, normalizes: bool = False, greet: bool = True) -> None:
        self.core = SmtpServer(options or Options(), normalizes=normalizes)
        self.events: list[Event] = []
        self.messages: list[bytes] = []
        self.pieces: list[bytes] = []
        if greet:
            self.core.reply(Reply.of(220, "", "mail.example.test ESMTP"))

    def send(self, data: bytes) -> bytes:
        """Everything answered to these octets."""
        self.core.receive_data(data)
        return self.pump()

    def slowly(self, data: bytes, step: int = 1) -> bytes:
        return b"".join(self.send(data[at : at + step]) for at in range(0, len(data), step))

    def pump(self) -> bytes:
        out: list[bytes] = []
        while (event := self.core.next_event()) is not None:
            self.events.append(event)
            if isinstance(event, ContentPiece):
                self.pieces.append(event.data)
                continue
            if isinstance(event, EndOfContent):
                if event.refusal is None:
                    self.messages.append(b"".join(self.pieces) + event.data)
                self.pieces.clear()
            out.append(self.core.reply(consent(event)))
        return b"".join(out)

    def codes(self, data: bytes) -> list[int]:
        return [int(line[:3]) for line in self.send(data).splitlines() if line[3:4] == b" "]

    @property
    def state(self) -> State:
        return self.core.state


def to_data(options: Options | None = None, *, normalizes: bool = False) -> Talk:
    talk = Talk(options, normalizes=normalizes)
    talk.send(b"EHLO client.example\r\nMAIL FROM:<s@example.org>\r\nRCPT TO:<a@example.test>\r\nDATA\r\n")
    assert talk.state is State.DATA
    return talk


def to_rcpt(options: Options | None = None, *, normalizes: bool = False) -> Talk:
    talk = Talk(options, normalizes=normalizes)
    talk.send(b"EHLO client.example\r\nMAIL FROM:<s@example.org>\r\nRCPT TO:<a@example.test>\r\n")
    assert talk.state is State.RCPT
    return talk
