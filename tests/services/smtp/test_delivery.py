"""One server: what is said to it, and what each recipient's result and log line say."""

import asyncio
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from posthouse.core.result import DeliveryStatus
from tests.services.smtp.conftest import CONTENT, Desk
from tests.services.smtp.peers import Scripted, Server, free_port, server, usual

MakeDesk = Callable[..., Desk]
SENT, DEFERRED, BOUNCED = DeliveryStatus.SENT, DeliveryStatus.DEFERRED, DeliveryStatus.BOUNCED


def test_a_message_is_delivered_and_logged_as_postfix_does(desk: MakeDesk) -> None:
    place = desk()
    peer = server()

    async def test() -> None:
        port = await peer.listen()
        (result,) = await place.deliver(f"[127.0.0.1]:{port}")
        assert (result.status, result.dsn, result.text) == (SENT, "2.0.0", "250 2.0.0 Ok: queued as TEST")
        assert result.relay == f"127.0.0.1[127.0.0.1]:{port}"
        assert (result.remote_mta, result.remote_reply) == ("127.0.0.1", "250 2.0.0 Ok: queued as TEST")
        assert not result.dsn_passed
        await peer.close()

    place.drive(test)
    assert peer.messages == [CONTENT.replace(b"\r\n.dot", b"\r\n..dot")]
    assert peer.commands[:4] == ["EHLO client.test", "MAIL FROM:<s@x.test>", "RCPT TO:<r@y.test>", "DATA"]
    pattern = (
        r"smtp: 4XYZ1: to=<r@y\.test>, "
        r"relay=127\.0\.0\.1\[127\.0\.0\.1\]:\d+, delay=2(\.\d)?, delays=1/1/0(\.\d+)?/0(\.\d+)?, "
        r"dsn=2\.0\.0, status=sent \(250 2\.0\.0 Ok: queued as TEST\)"
    )
    assert re.fullmatch(pattern, place.log()[0]), place.log()


def test_each_recipient_has_its_own_result(desk: MakeDesk) -> None:
    place = desk()

    def script(command: str, connection: Scripted) -> str | None:
        if "bad@" in command:
            return "550-5.1.1 first line\n550 5.1.1 no such user"
        if "later@" in command:
            return "450 4.2.0 greylisted"
        return usual(command, connection)

    peer = Server(script)

    async def test() -> None:
        port = await peer.listen()
        good, bad, later = await place.deliver(f"[127.0.0.1]:{port}", "good@y.test", "bad@y.test", "later@y.test")
        assert (good.status, bad.status, later.status) == (SENT, BOUNCED, DEFERRED)
        assert bad.dsn == "5.1.1"
        assert bad.text == (
            "host 127.0.0.1[127.0.0.1] said: 550-5.1.1 first line 550 5.1.1 no such user (in reply to RCPT TO command)"
        )
        assert later.remote_reply == "450 4.2.0 greylisted"
        await peer.close()

    place.drive(test)


@pytest.mark.parametrize(
    ("answers", "status", "dsn", "words"),
    [
        ({"MAIL": "550 5.7.1 no"}, BOUNCED, "5.7.1", "said: 550 5.7.1 no (in reply to MAIL FROM command)"),
        ({"MAIL": "451 no"}, DEFERRED, "4.0.0", "said: 451 no (in reply to MAIL FROM command)"),
        ({"DATA": "554 5.6.0 no"}, BOUNCED, "5.6.0", "said: 554 5.6.0 no (in reply to DATA command)"),
        ({"dot": "552 5.3.4 big"}, BOUNCED, "5.3.4", "said: 552 5.3.4 big (in reply to end of DATA command)"),
        ({"dot": "451 4.3.0 later"}, DEFERRED, "4.3.0", "said: 451 4.3.0 later (in reply to end of DATA command)"),
        ({"greeting": "554 5.7.1 go away"}, DEFERRED, "4.7.1", "refused to talk to me: 554 5.7.1 go away"),
        ({"greeting": "421 4.3.2 busy"}, DEFERRED, "4.3.2", "refused to talk to me: 421 4.3.2 busy"),
        ({"EHLO": "550 5.0.1 x", "HELO": "550 5.0.1 y"}, BOUNCED, "5.0.1", "refused to talk to me: 550 5.0.1 y"),
        ({"RCPT": "421 4.3.2 bye"}, DEFERRED, "4.3.2", "said: 421 4.3.2 bye (in reply to RCPT TO command)"),
        ({"greeting": "hello"}, DEFERRED, "4.5.0", "non-SMTP response from"),
        ({"greeting": None}, DEFERRED, "4.4.2", "while receiving the initial server greeting"),
        ({"EHLO": None}, DEFERRED, "4.4.2", "while performing the EHLO handshake"),
        ({"MAIL": None}, DEFERRED, "4.4.2", "while sending MAIL FROM"),
        ({"RCPT": None}, DEFERRED, "4.4.2", "while sending RCPT TO"),
        ({"dot": None}, DEFERRED, "4.4.2", "while sending end of data -- message may be sent more than once"),
        (
            {"EHLO": "250-mx.test\n250 SIZE 10"},
            BOUNCED,
            "5.3.4",
            f"message size {len(CONTENT)} exceeds size limit 10 of server 127.0.0.1[127.0.0.1]",
        ),
    ],
)
def test_refusals_and_breaks_mean_what_they_mean_to_postfix(
    desk: MakeDesk, answers: dict[str, str | None], status: DeliveryStatus, dsn: str, words: str
) -> None:
    place = desk()
    peer = server(**answers)

    async def test() -> None:
        port = await peer.listen()
        (result,) = await place.deliver(f"[127.0.0.1]:{port}")
        assert (result.status, result.dsn) == (status, dsn), result
        assert words in result.text
        await peer.close()

    place.drive(test)


def test_nobody_listens(desk: MakeDesk) -> None:
    place = desk()
    port = free_port()

    async def test() -> None:
        outcomes = await place.outcomes(place.job(f"[127.0.0.1]:{port}"))
        (result,) = outcomes.results
        assert (result.status, result.dsn, result.relay) == (DEFERRED, "4.4.1", "none")
        assert result.text == f"connect to 127.0.0.1[127.0.0.1]:{port}: Connection refused"
        assert outcomes.destination_failed

    place.drive(test)
    assert place.log()[0] == f"smtp: connect to 127.0.0.1[127.0.0.1]:{port}: Connection refused"


def test_a_silent_server_is_given_up_after_its_time(desk: MakeDesk) -> None:
    place = desk(smtp_mail_timeout="1s")
    peer = server(MAIL="", RCPT="", DATA="")

    async def test() -> None:
        port = await peer.listen()
        (result,) = await place.deliver(f"[127.0.0.1]:{port}")
        assert (result.status, result.dsn) == (DEFERRED, "4.4.2")
        assert result.text == "conversation with 127.0.0.1[127.0.0.1] timed out while sending MAIL FROM"
        await peer.close()

    place.drive(test)


def test_a_server_without_ehlo_gets_helo(desk: MakeDesk) -> None:
    place = desk()
    peer = server(EHLO="502 5.5.1 what")

    async def test() -> None:
        port = await peer.listen()
        (result,) = await place.deliver(f"[127.0.0.1]:{port}")
        assert result.status is SENT
        await peer.close()

    place.drive(test)
    assert "HELO client.test" in peer.commands


def test_a_large_message_comes_from_its_file(desk: MakeDesk, tmp_path: Path) -> None:
    content = b"Subject: big\r\n\r\n" + b".line of text\r\n" * 200_000
    (tmp_path / "big").write_bytes(content)
    place = desk()
    peer = server()

    async def test() -> None:
        port = await peer.listen()
        descriptor = os.open(tmp_path / "big", os.O_RDONLY)
        job = place.job(f"[127.0.0.1]:{port}", content=b"", size=len(content))
        outcomes = await place.outcomes(job, (descriptor,))
        os.close(descriptor)
        assert outcomes.results[0].status is SENT
        await peer.close()

    place.drive(test)
    assert peer.messages[0].replace(b"\r\n..", b"\r\n.") == content


def test_half_a_message_is_never_ended_with_a_dot(desk: MakeDesk, tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"Subject: x\r\n\r\nhalf")
    place = desk()
    peer = server()

    async def test() -> None:
        port = await peer.listen()
        descriptor = os.open(tmp_path / "short", os.O_RDONLY)
        outcomes = await place.outcomes(place.job(f"[127.0.0.1]:{port}", content=b"", size=10_000), (descriptor,))
        os.close(descriptor)
        assert outcomes.results[0].status is DEFERRED
        await peer.close()

    place.drive(test)
    assert peer.messages == []


def test_extensions_are_used_where_they_are_offered(desk: MakeDesk) -> None:
    place = desk()
    peer = server(EHLO="250-mx.test\n250-PIPELINING\n250-SIZE\n250-DSN\n250-SMTPUTF8\n250 8BITMIME")

    async def test() -> None:
        port = await peer.listen()
        (result,) = await place.deliver(
            f"[127.0.0.1]:{port}", "ü@y.test", body="8BITMIME", smtputf8=True, ret="HDRS", envid="id+1"
        )
        assert result.status is SENT
        assert result.dsn_passed
        await peer.close()

    place.drive(test)
    assert peer.commands[1] == f"MAIL FROM:<s@x.test> SIZE={len(CONTENT)} BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=id+2B1"
    assert peer.commands[2] == "RCPT TO:<ü@y.test>"


def test_an_address_that_needs_smtputf8_bounces_where_it_is_not_offered(desk: MakeDesk) -> None:
    place = desk()
    peer = server()

    async def test() -> None:
        port = await peer.listen()
        (result,) = await place.deliver(f"[127.0.0.1]:{port}", "ü@y.test", smtputf8=True)
        assert (result.status, result.dsn) == (BOUNCED, "5.6.7")
        (result,) = await place.deliver(f"[127.0.0.1]:{port}", "u@bücher.test", smtputf8=True)
        assert result.status is SENT
        await peer.close()

    place.drive(test)
    assert "RCPT TO:<u@xn--bcher-kva.test>" in peer.commands


def test_an_address_cannot_say_commands(desk: MakeDesk) -> None:
    place = desk()
    peer = server()

    async def test() -> None:
        port = await peer.listen()
        bad, good = await place.deliver(f"[127.0.0.1]:{port}", "a\r\nRSET\r\n@y.test", "b@y.test")
        assert (bad.status, bad.dsn, good.status) == (BOUNCED, "5.1.3", SENT)
        await peer.close()

    place.drive(test)
    assert "RSET" not in peer.commands


def test_lmtp_has_a_result_for_each_recipient(desk: MakeDesk, tmp_path: Path) -> None:
    place = desk()
    state = {"replies": 0}

    def script(command: str, connection: Scripted) -> str | None:
        if command == ".":
            return "250 2.0.0 saved\n452 4.2.2 full"
        return usual(command, connection)

    peer = Server(script)

    async def test() -> None:
        path = str(tmp_path / "lmtp")
        unix = await asyncio.get_running_loop().create_unix_server(lambda: Scripted(peer), path)
        one, two = await place.deliver(f"unix:{path}", "a@y.test", "b@y.test", transport="lmtp")
        assert (one.status, two.status, two.dsn) == (SENT, DEFERRED, "4.2.2")
        assert one.relay == f"client.test[{path}]"
        unix.close()
        for connection in peer.open:
            connection.transport.abort()
        await asyncio.sleep(0.01)

    place.drive(test)
    assert state["replies"] == 0
    assert peer.commands[0] == "LHLO client.test"
    assert place.log()[-1].startswith("lmtp: 4XYZ")
