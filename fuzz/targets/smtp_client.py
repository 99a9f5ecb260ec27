"""Whatever a server answers, cut anywhere, to the SMTP and LMTP client's core.

What holds: packets make no difference; only ProtocolError comes out; a finished transaction has an outcome for each
recipient, and none is taken for delivered without a positive reply; what we send are single lines.
"""

from fuzz.target import Target
from posthouse.protocol.smtp.client import Client, ContentWanted, Finished, ProtocolError, Replied
from posthouse.protocol.smtp.client_reply import MAXIMAL_PENDING_OCTETS
from posthouse.protocol.smtp.client_transaction import RecipientCommand, Stage, Transaction

_RECIPIENTS = (
    RecipientCommand("a@example.test"),
    RecipientCommand("b@example.test", ("FAILURE", "DELAY"), "orig=inal+@example.test"),
    RecipientCommand('"c d"@example.test', ("NEVER",), "ä@example.test"),
)


class Conversation:
    """A client that wants to deliver two messages; `facts` is all that was noticed, in order."""

    def __init__(self, *, lmtp: bool, batch: int) -> None:
        self.client = Client(lmtp=lmtp, reply_line_limit=5, recipient_batch=batch)
        self.hello = Stage.LHLO if lmtp else Stage.EHLO
        self.facts: list[object] = []
        self.sent: list[bytes] = []
        self.begun = 0
        self.over = False

    def say(self, octets: bytes) -> None:
        assert octets == b"" or octets.endswith(b"\r\n")
        assert octets.count(b"\r\n") == octets.count(b"\n") == octets.count(b"\r")
        self.sent.append(octets)

    def hear(self, data: bytes) -> None:
        if self.over:
            return
        try:
            self.say(self.client.receive_data(data))
        except ProtocolError as error:
            self.facts.append(str(error))
            self.over = True
        while (event := self.client.next_event()) is not None:
            self.on(event)
        if self.client.stage is None and not self.over:
            self.over = True

    def on(self, event: Replied | ContentWanted | Finished) -> None:
        client = self.client
        match event:
            case Replied(stage, reply):
                assert 200 <= reply.code <= 599
                self.facts.append((stage, reply.code, reply.status, reply.lines))
                if client.closing or self.over:
                    self.over = True
                elif stage is Stage.GREETING and reply.positive:
                    self.say(client.hello("client.example", self.hello))
                elif stage in (Stage.EHLO, Stage.LHLO) and reply.positive:
                    features = client.learn(reply)
                    assert features.size >= 0
                    self.facts.append(features)
                    self.begin()
                else:
                    self.over = True
            case ContentWanted():
                if not self.over:
                    client.content_sent()
            case Finished(transaction):
                assert len(transaction.outcomes) == len(transaction.recipients)
                for outcome in transaction.outcomes:
                    assert outcome is not None
                    if outcome.reply.positive:
                        assert outcome.stage is Stage.END_OF_DATA
                    else:
                        assert outcome.reply.code >= 400
                self.facts.append(tuple(transaction.outcomes))
                if not (client.closing or self.over) and self.begun < 2:
                    self.begin()

    def begin(self) -> None:
        self.begun += 1
        transaction = Transaction(
            "sender@example.org", _RECIPIENTS, size=9, body="8BITMIME", ret="HDRS", envid="an=id+", smtputf8=True
        )
        self.say(self.client.begin(transaction))


def check(data: bytes) -> None:
    if len(data) < 2:
        return
    lmtp, batch, step = bool(data[0] & 1), data[0] % 3 + 1, data[1] % 32 + 1
    octets = data[2:]
    whole, pieces = Conversation(lmtp=lmtp, batch=batch), Conversation(lmtp=lmtp, batch=batch)
    # A server's answer to what was not said yet is another matter than the same answer in time, so both hear lines.
    for line in octets.splitlines(keepends=True):
        whole.hear(line)
        for at in range(0, len(line), step):
            pieces.hear(line[at : at + step])
            assert len(pieces.client._reader._pending) <= MAXIMAL_PENDING_OCTETS
    assert whole.facts == pieces.facts
    assert b"".join(whole.sent) == b"".join(pieces.sent)
    # And all at once: whatever it means, it breaks nothing.
    Conversation(lmtp=lmtp, batch=batch).hear(octets)


_EHLO = b"220 mx ESMTP\r\n250-mx\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250-DSN\r\n250 SMTPUTF8\r\n"

TARGET = Target(
    check,
    seeds=(
        b"\0\0" + _EHLO + b"250 ok\r\n250 ok\r\n550 5.1.1 no\r\n452 4.2.2 full\r\n354 go\r\n250 2.0.0 queued\r\n",
        b"\x01\x03220 mx\r\n250 mx\r\n250 ok\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 a\r\n451 b\r\n250 c\r\n221 bye\r\n",
        b"\0\1" + _EHLO + b"550 no\r\n550 no\r\n550 no\r\n550 no\r\n354 go\r\n250 ok\r\n250 reset\r\n",
        b"\2\1" + _EHLO + b"250 ok\r\n421 4.3.2 shutting down\r\n",
        b"\x00\x05220 mx\r\n250-mx\r\n250 \r\n250-AUTH=PLAIN LOGIN\r\n999 x\r\n",
    ),
    words=(
        b"220 mx", b"250 ok", b"250-mx", b"250-PIPELINING", b"250-SIZE 99999999999999999999", b"250 AUTH PLAIN",
        b"250-AUTH=X", b"354 go", b"421 4.3.2 bye", b"450 4.2.0 later", b"550 5.1.1 no", b"554", b"250", b"25",
        b"600 x", b"199 x", b"300 x", b"\r\n", b"\n", b"\r", b" ", b"-", b"2.0.0 ", b"9.9.9 ", b"\xff", b"\0",
        b"STARTTLS", b"DSN",
    ),
)  # fmt: skip
