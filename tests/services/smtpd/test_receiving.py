"""A message comes in: what the queue gets, what the client and the log are told."""

import re
import smtplib
from collections.abc import Callable

from posthouse.core.address import Address
from posthouse.core.envelope import Recipient
from posthouse.core.reply import NO_SPACE
from tests.services.smtpd.world import World

NewWorld = Callable[..., World]
MESSAGE = (
    "From: s@example.org\r\nTo: alice@example.test\r\nSubject: x\r\nMessage-ID: <1@example.org>\r\nDate: now\r\n\r\n"
    "hello\r\n"
)


def test_a_message_reaches_the_queue_with_its_envelope(world: World) -> None:
    with smtplib.SMTP("127.0.0.1", world.ports["smtp"], local_hostname="client.example") as client:
        client.sendmail("s@example.org", ["alice@example.test"], MESSAGE, ["BODY=8BITMIME"])
    (submit,) = world.submitted
    assert submit.envelope.sender == Address("s", "example.org")
    assert submit.envelope.recipients == (Recipient(Address("alice", "example.test")),)
    assert submit.envelope.body == "8BITMIME"
    assert submit.arrival.client_address == "127.0.0.1"
    assert submit.arrival.message_id == "<1@example.org>"
    assert submit.size == len(submit.content)
    received = (
        r"Received: from client\.example \(localhost \[127\.0\.0\.1\]\)\r\n"
        rf"\tby mail\.example\.test \(Posthouse\) with ESMTP id {submit.queue_id}\r\n"
        r"\tfor <alice@example\.test>; \w{3}, [ \d]\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4} \(\w+\)\r\n"
    )
    assert re.match(received, submit.content.decode())
    assert submit.content.decode().endswith(MESSAGE)


def test_the_log_tells_the_story_in_postfix_words(world: World) -> None:
    with smtplib.SMTP("127.0.0.1", world.ports["smtp"]) as client:
        client.sendmail("s@example.org", ["alice@example.test"], MESSAGE)
    world.wait_for_log("^disconnect from")
    queue_id = world.submitted[0].queue_id
    assert world.log() == [
        "connect from localhost[127.0.0.1]",
        f"{queue_id}: client=localhost[127.0.0.1]",
        "disconnect from localhost[127.0.0.1] ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5",
    ]


def test_the_final_reply_names_the_queue_id(world: World) -> None:
    with world.connect() as client:
        client.in_data()
        reply = client.ask("Subject: x\r\n\r\nx\r\n.")
        assert reply == f"250 2.0.0 Ok: queued as {world.submitted[0].queue_id}"


def test_what_the_queue_cannot_take_is_not_acknowledged(world: World) -> None:
    world.refusal = NO_SPACE
    with world.connect() as client:
        client.in_data()
        assert client.ask("x\r\n.") == "452 4.3.1 Insufficient system storage"
        world.refusal = None
        assert client.ask("MAIL FROM:<s@example.org>").startswith("250")
    assert world.submitted == []
    world.wait_for_log(r"reject: DATA from localhost\[127.0.0.1\]: 452 4.3.1 ")


def test_several_messages_in_one_pipeline(world: World) -> None:
    one = "MAIL FROM:<s@example.org>\r\nRCPT TO:<alice@example.test>\r\nRCPT TO:<nobody@example.test>\r\nDATA\r\n"
    with world.connect() as client:
        client.greeted()
        for number in range(3):
            client.send(one.encode())
            assert [client.reply()[:3] for _ in range(4)] == ["250", "250", "550", "354"]
            client.send(f"Subject: {number}\r\n\r\n{number}\r\n.\r\n".encode())
            assert client.reply().startswith("250 2.0.0 Ok: queued as ")
    assert [submit.content[-3:-2] for submit in world.submitted] == [b"0", b"1", b"2"]
    assert len({submit.queue_id for submit in world.submitted}) == 3


def test_with_several_recipients_received_names_none(world: World) -> None:
    with smtplib.SMTP("127.0.0.1", world.ports["smtp"]) as client:
        client.sendmail("s@example.org", ["alice@example.test", "bob@example.test"], MESSAGE)
    assert b"\tfor <" not in world.submitted[0].content


def test_local_clients_get_missing_fields_and_others_do_not(new_world: NewWorld) -> None:
    for value, expected in (("permit_inet_interfaces", True), ("", False), ("permit_mynetworks", True)):
        world = new_world(local_header_rewrite_clients=value)
        with smtplib.SMTP("127.0.0.1", world.ports["smtp"]) as client:
            client.sendmail("s@example.org", ["alice@example.test"], "Subject: bare\r\n\r\nx\r\n")
        content = world.submitted[0].content
        assert (b"\r\nMessage-Id: <" in content) is expected
        assert (b"\r\nFrom: s@example.org\r\n" in content) is expected
        assert (b"\r\nDate: " in content) is expected


def test_blind_copies_stay_blind(world: World) -> None:
    with smtplib.SMTP("127.0.0.1", world.ports["smtp"]) as client:
        client.sendmail("s@example.org", ["alice@example.test"], "Bcc: bob@example.test\r\n" + MESSAGE)
    assert b"Bcc" not in world.submitted[0].content


def test_a_large_message_streams_to_the_queue(world: World) -> None:
    body = "".join(f"{number} " + "x" * 60 + "\r\n" for number in range(30_000))
    with smtplib.SMTP("127.0.0.1", world.ports["smtp"]) as client:
        client.sendmail("s@example.org", ["alice@example.test"], MESSAGE + body)
    (submit,) = world.submitted
    assert submit.handle
    assert submit.content == b""
    content = world.contents[submit.handle].decode()
    assert content.startswith("Received: ")
    assert content.endswith(MESSAGE + body)
    assert submit.size == len(content)


def test_a_large_message_that_cannot_be_stored_is_refused_at_its_end(world: World) -> None:
    world.refusal = NO_SPACE
    with world.connect() as client:
        client.in_data()
        client.send(b"x" * 70 + b"\r\n")
        for _ in range(20_000):
            client.send(b"y" * 70 + b"\r\n")
        assert client.ask(".") == "452 4.3.1 Insufficient system storage"
        assert client.ask("NOOP").startswith("250")
    world.wait_until(lambda: not world.contents)


def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(world: World) -> None:
    with world.connect() as client:
        client.in_data()
        client.send(b"y" * 500_000)
    world.wait_for_log(r"^lost connection after DATA \(\d+ bytes\) from localhost\[127.0.0.1\]")
    world.wait_for_log(r"^disconnect from localhost\[127.0.0.1\] ehlo=1 mail=1 rcpt=1 data=0/1 commands=3/4")
    world.wait_until(lambda: not world.contents)
    assert world.submitted == []


def test_a_client_may_end_its_side_and_still_hear_us(world: World) -> None:
    import socket

    with world.connect() as client:
        client.greeted()
        client.send(b"MAIL FROM:<s@example.org>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n")
        client.sock.shutdown(socket.SHUT_WR)
        assert [client.reply()[:3] for _ in range(5)] == ["250", "250", "354", "250", "221"]


def test_chunks(world: World) -> None:
    with world.connect() as client:
        client.greeted()
        client.send(
            b"MAIL FROM:<s@example.org>\r\nRCPT TO:<alice@example.test>\r\n"
            b"BDAT 12\r\nSubject: x\r\nBDAT 5 LAST\r\n\r\nhi\n"
        )
        assert [client.reply() for _ in range(3)] == ["250 2.1.0 Ok", "250 2.1.5 Ok", "250 2.0.0 Ok: 12 bytes"]
        assert client.reply().startswith("250 2.0.0 Ok: queued as ")
    content = world.submitted[0].content
    assert b"\r\nSubject: x\r\n" in content
    assert content.endswith(b"\r\n\r\nhi\r\n")


def test_utf8_addresses(world: World) -> None:
    with world.connect() as client:
        client.greeted()
        assert client.ask("MAIL FROM:<säender@example.org> SMTPUTF8").startswith("250")
        assert client.ask("RCPT TO:<grüße@example.test>").startswith("250")
        client.ask("DATA")
        assert client.ask("Subject: ü\r\n\r\nx\r\n.").startswith("250")
    assert world.submitted[0].envelope.smtputf8
    assert b"with UTF8SMTP id" in world.submitted[0].content
    assert "for <grüße@example.test>".encode() in world.submitted[0].content


def test_an_address_that_needs_smtputf8_says_so_to_the_queue(new_world: NewWorld) -> None:
    world = new_world(strict_smtputf8="no")
    with smtplib.SMTP("127.0.0.1", world.ports["smtp"]) as client:
        client.ehlo()
        client.docmd("MAIL FROM:<s@example.org>")
        client.command_encoding = "utf-8"
        client.docmd("RCPT TO:<grüße@example.test>")
        client.data("Subject: x\r\n\r\nx\r\n")
    assert world.submitted[0].envelope.smtputf8


def test_dsn_parameters_travel_with_the_envelope(world: World) -> None:
    with world.connect() as client:
        client.greeted()
        client.ask("MAIL FROM:<s@example.org> RET=HDRS ENVID=id+2B1")
        client.ask("RCPT TO:<alice@example.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Alice@example.test")
        client.ask("DATA")
        client.ask("x\r\n.")
    envelope = world.submitted[0].envelope
    assert (envelope.ret, envelope.envid) == ("HDRS", "id+1")
    assert envelope.recipients[0].notify == ("SUCCESS", "DELAY")
    assert envelope.recipients[0].original == "Alice@example.test"


def test_a_sender_without_domain_is_ours(world: World) -> None:
    with world.connect() as client:
        client.greeted()
        client.ask("MAIL FROM:<root>")
        client.ask("RCPT TO:<postmaster>")
        client.ask("DATA")
        client.ask("x\r\n.")
    assert world.submitted[0].envelope.sender == Address("root", "mail.example.test")


def test_a_restarted_queue_gets_ids_of_its_new_lease(world: World) -> None:
    with world.connect() as client:
        client.in_data()
        world.restart_queue()
        world.wait_until(lambda: world.leases == 2)
        world.wait_until(lambda: world.process._house is not None and world.process._house.colleagues.ids is not None)
        reply = client.ask("x\r\n.")
        assert reply.startswith(("250 ", "451 "))
        if reply.startswith("250 "):
            assert world.submitted[0].queue_id.endswith("z2")


def test_too_many_hops_are_a_loop(world: World) -> None:
    with world.connect() as client:
        client.in_data()
        assert client.ask("Received: x\r\n" * 51 + "\r\nx\r\n.") == "554 5.4.0 Error: too many hops"


def test_nul_in_a_message_is_refused(world: World) -> None:
    with world.connect() as client:
        client.in_data()
        assert client.ask("a\0b\r\n.").startswith("550 5.6.0 ")


def test_what_tables_sealed_about_the_recipients_travels_with_the_message(world: World) -> None:
    with smtplib.SMTP("127.0.0.1", world.ports["smtp"]) as client:
        client.sendmail("s@example.org", ["alice@example.test", "bob@example.test"], MESSAGE)
        client.sendmail("s@example.org", ["alice@example.test"], MESSAGE)
    first, second = world.submitted
    assert first.sealed == (b"seal of alice@example.test", b"seal of bob@example.test")
    assert second.sealed == (b"seal of alice@example.test",)


def test_an_answer_for_a_whole_domain_is_asked_for_once(world: World) -> None:
    with smtplib.SMTP("127.0.0.1", world.ports["smtp"]) as client:
        for name in ("one", "two", "three"):
            client.sendmail("s@example.org", [f"{name}@wide.test"], MESSAGE)
    assert world.questions == 1
    recipients = [str(one.address) for submit in world.submitted for one in submit.envelope.recipients]
    assert recipients == ["one@wide.test", "two@wide.test", "three@wide.test"]
