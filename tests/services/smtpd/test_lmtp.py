"""LMTP: one answer per recipient, after delivery."""

import smtplib

from posthouse.core.result import DeliveryStatus
from tests.services.smtpd.world import World


def test_each_recipient_is_answered_by_itself(world: World) -> None:
    fates = [DeliveryStatus.SENT, DeliveryStatus.DEFERRED, DeliveryStatus.BOUNCED]
    world.known.add("carol@example.test")
    world.fate = lambda index: fates[index]
    with world.connect("lmtp") as client:
        client.reply()
        assert client.ask("LHLO client.example").startswith("250")
        client.ask("MAIL FROM:<s@example.org>")
        for name in ("alice", "bob", "carol", "nobody"):
            client.ask(f"RCPT TO:<{name}@example.test>")
        client.ask("DATA")
        client.send(b"Subject: x\r\n\r\nx\r\n.\r\n")
        answers = [client.reply() for _ in range(3)]
        queue_id = world.transacted[0].queue_id
        assert answers == [
            f"250 2.0.0 <alice@example.test> {queue_id} Saved",
            "451 4.2.0 <bob@example.test> the words",
            "550 5.2.2 <carol@example.test> the words",
        ]
        assert client.ask("NOOP").startswith("250 ")
    assert b"with LMTP id" in world.transacted[0].content
    assert world.submitted == []


def test_nothing_is_relayed_by_lmtp(world: World) -> None:
    with smtplib.LMTP("127.0.0.1", world.ports["lmtp"]) as client:
        client.ehlo()
        client.mail("s@example.org")
        assert client.rcpt("x@elsewhere.example")[0] == 554


def test_a_refused_message_is_refused_for_each_recipient(world: World) -> None:
    with world.connect("lmtp") as client:
        client.reply()
        client.ask("LHLO c")
        client.ask("MAIL FROM:<s@example.org>")
        client.ask("RCPT TO:<alice@example.test>")
        client.ask("RCPT TO:<bob@example.test>")
        client.ask("DATA")
        client.send(b"a\0b\r\n.\r\n")
        assert client.reply().startswith("550 5.6.0 ")
        assert client.reply().startswith("550 5.6.0 ")
        assert client.ask("NOOP").startswith("250 ")


def test_large_messages_by_lmtp(world: World) -> None:
    with smtplib.LMTP("127.0.0.1", world.ports["lmtp"]) as client:
        client.sendmail("s@example.org", ["alice@example.test"], "Subject: x\r\n\r\n" + "y" * 70 + "\r\n" * 300_000)
    assert world.transacted[0].handle
