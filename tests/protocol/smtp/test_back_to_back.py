"""Our client's core talks to our server's core: what one says the other understands, in packets of any size."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.core.reply import Reply
from posthouse.protocol.smtp import replies
from posthouse.protocol.smtp.client import Client, ContentWanted, Finished, Replied
from posthouse.protocol.smtp.client_content import whole_message
from posthouse.protocol.smtp.client_transaction import RecipientCommand, Stage, Transaction
from posthouse.protocol.smtp.events import Hello, Mail, Rcpt
from posthouse.protocol.smtp.line_ends import crlf
from posthouse.protocol.smtp.options import Options
from posthouse.protocol.smtp.server import SmtpServer
from tests.protocol.smtp.talk import Talk, consent

OFFER = Reply(250, "", ("mail.example.test", "PIPELINING", "SIZE 1000000", "8BITMIME", "SMTPUTF8", "DSN"))


class Server(Talk):
    """Announces extensions; knows nobody called nobody."""

    def __init__(self, offer: Reply) -> None:
        super().__init__(Options(), greet=False)
        self.offer = offer

    def send(self, data: bytes) -> bytes:
        self.core.receive_data(data)
        out: list[bytes] = []
        core: SmtpServer = self.core
        while (event := core.next_event()) is not None:
            self.events.append(event)
            reply = consent(event)
            if isinstance(event, Hello):
                reply = self.offer
            elif isinstance(event, Rcpt) and event.recipient.local_part == "nobody":
                reply = replies.BAD_RECIPIENT
            if type(event).__name__ == "EndOfContent":
                self.messages.append(event.data)  # type: ignore[attr-defined]
            out.append(core.reply(reply))
        return b"".join(out)


def deliver(transaction: Transaction, content: bytes, step: int, offer: Reply = OFFER) -> Server:
    server, client = Server(offer), Client()
    to_server = b""
    to_client = server.core.reply(Reply.of(220, "", "mail.example.test ESMTP"))
    while to_client or to_server:
        piece, to_client = to_client[:step], to_client[step:]
        to_server += client.receive_data(piece) if piece else b""
        while (event := client.next_event()) is not None:
            match event:
                case Replied(stage=Stage.GREETING):
                    to_server += client.hello("client.example")
                case Replied(stage=Stage.EHLO, reply=reply):
                    client.learn(reply)
                    to_server += client.begin(transaction)
                case ContentWanted():
                    to_server += whole_message(content)
                    client.content_sent()
                case Finished():
                    to_server += client.quit()
                case Replied():
                    pass
        piece, to_server = to_server[:step], to_server[step:]
        to_client += server.send(piece) if piece else b""
    return server


@pytest.mark.parametrize("step", [1, 5, 10_000])
@pytest.mark.parametrize("offer", [OFFER, Reply.of(250, "", "mail.example.test")])
def test_a_message_and_the_fate_of_each_recipient(step: int, offer: Reply) -> None:
    recipients = [RecipientCommand(f"{name}@example.test") for name in ("a", "nobody", '"b c"')]
    transaction = Transaction("s@example.org", recipients, size=10, body="8BITMIME", ret="HDRS", envid="x y+z")
    server = deliver(transaction, b"Subject: x\r\n\r\n.dot\r\n", step, offer)
    assert server.messages == [b"Subject: x\r\n\r\n.dot\r\n"]
    assert [one is not None and one.reply.positive for one in transaction.outcomes] == [True, False, True]
    mail = next(event for event in server.events if isinstance(event, Mail))
    if offer is OFFER:
        assert (mail.parameters.envid, mail.parameters.ret, mail.parameters.body) == ("x y+z", "HDRS", "8BITMIME")
    heard = [event.recipient.local_part for event in server.events if isinstance(event, Rcpt)]
    assert heard == ["a", "nobody", "b c"]


def test_without_any_recipient_no_message_arrives() -> None:
    transaction = Transaction("s@example.org", [RecipientCommand("nobody@example.test")])
    server = deliver(transaction, b"x\r\n", 1000)
    assert server.messages == []
    assert transaction.outcomes[0] is not None
    assert transaction.outcomes[0].reply.code == 501


_LINES = st.lists(st.sampled_from([b".", b"..", b".x", b"x", b"", b"x.", b"\xff", b"\r", b"\n"]), max_size=30)


@given(_LINES, st.integers(1, 200))
@settings(max_examples=200, deadline=None)
def test_every_content_arrives_as_it_was_sent(lines: list[bytes], step: int) -> None:
    content = crlf(b"\r\n".join(lines))
    server = deliver(Transaction("s@example.org", [RecipientCommand("a@example.test")]), content, step)
    assert server.messages == [content]
