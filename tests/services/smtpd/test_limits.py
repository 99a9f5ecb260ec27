"""Clients that make errors, are silent, come too often or send too much."""

import contextlib
import re
import socket
import time
from collections.abc import Callable

import pytest

from tests.services.smtpd.world import Raw, World

NewWorld = Callable[..., World]
STRANGERS = {"smtpd_client_event_limit_exceptions": "192.0.2.0/24"}


def test_too_many_errors_end_the_session(world: World) -> None:
    with world.connect() as client:
        client.greeted()
        answers = [client.ask("FROB") for _ in range(20)]
        assert answers[:19] == ["500 5.5.2 Error: command not recognized"] * 19
        assert answers[19] == "421 4.7.0 mail.example.test Error: too many errors"
        assert client.reply() == ""
    world.wait_for_log(r"^too many errors after UNKNOWN from localhost\[127.0.0.1\]$")


def test_a_delivered_message_forgives_errors(world: World) -> None:
    with world.connect() as client:
        client.greeted()
        for _ in range(3):
            for _ in range(15):
                assert client.ask("FROB").startswith("500 ")
            client.ask("MAIL FROM:<s@example.org>")
            client.ask("RCPT TO:<alice@example.test>")
            client.ask("DATA")
            assert client.ask("x\r\n.").startswith("250 ")


def test_errors_slow_a_session_down(new_world: NewWorld) -> None:
    world = new_world(smtpd_error_sleep_time="0.2", smtpd_soft_error_limit="2")
    with world.connect() as client:
        client.greeted()
        client.ask("FROB")
        begun = time.monotonic()
        client.ask("FROB")
        client.ask("NOOP")
        assert time.monotonic() - begun >= 0.35
        client.send(b"NOOP\r\nNOOP\r\nQUIT\r\n")
        assert [client.reply()[:3] for _ in range(3)] == ["250", "250", "221"]


def test_junk_commands_become_errors(new_world: NewWorld) -> None:
    world = new_world(smtpd_junk_command_limit="10")
    with world.connect() as client:
        client.greeted()
        answers: list[str] = []
        while len(answers) < 60 and not (answers and answers[-1].startswith("421")):
            answers.append(client.ask(("NOOP", "RSET", "VRFY alice@example.test")[len(answers) % 3]))
        assert answers[-1] == "421 4.7.0 mail.example.test Error: too many errors"
        assert len(answers) == 30


def test_a_silent_client_is_told_and_dropped(new_world: NewWorld) -> None:
    world = new_world(smtpd_timeout="1s")
    with world.connect() as client:
        client.greeted()
        assert client.reply() == "421 4.4.2 mail.example.test Error: timeout exceeded"
        assert client.reply() == ""
    world.wait_for_log(r"^timeout after EHLO from localhost\[127.0.0.1\]$")


def test_dripping_octets_do_not_keep_a_session_open(new_world: NewWorld) -> None:
    world = new_world(smtpd_timeout="1s")
    with world.connect() as client:
        client.reply()
        begun = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() < begun + 5:
                client.send(b"N")
                time.sleep(0.1)
                client.sock.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    if client.sock.recv(100):
                        break
                client.sock.setblocking(True)
        assert time.monotonic() - begun < 4
    world.wait_for_log(r"^timeout after CONNECT from ")


def test_content_below_the_least_rate_times_out_and_above_it_goes_on(new_world: NewWorld) -> None:
    world = new_world(smtpd_timeout="1s", smtpd_min_data_rate="1000")
    with world.connect() as client:
        client.in_data()
        for _ in range(10):
            client.send(b"x" * 998 + b"\r\n")
            time.sleep(0.2)
        client.send(b".\r\n")
        assert client.reply().startswith("250 ")
    with world.connect() as client:
        client.in_data()
        assert client.reply().startswith("421 4.4.2 ")
    world.wait_for_log(r"^timeout after DATA \(0 bytes\) from ")


def test_a_colleague_that_says_nothing_is_a_temporary_failure(new_world: NewWorld) -> None:
    world = new_world(smtpd_internal_timeout="1s")
    world.is_silent = True
    with world.connect() as client:
        client.in_data()
        assert client.ask("x\r\n.").startswith("451 4.3.0 ")
        assert client.ask("NOOP").startswith("250 ")
        world.is_silent = False
        assert client.ask("MAIL FROM:<s@example.org>").startswith("250 ")
    world.wait_for_log("^warning: no answer from another process in time")


def test_too_many_connections_of_one_client(new_world: NewWorld) -> None:
    world = new_world(**STRANGERS, smtpd_client_connection_count_limit="2")
    clients = [world.connect() for _ in range(3)]
    answers = sorted(client.reply() for client in clients)
    assert [answer[:3] for answer in answers] == ["220", "220", "421"]
    assert answers[2] == "421 4.7.0 mail.example.test Error: too many connections from 127.0.0.1"
    for client in clients:
        client.sock.close()
    world.wait_for_log(
        r"^warning: Connection concurrency limit exceeded: 3 from localhost\[127.0.0.1\] for service smtp$"
    )
    world.wait_until(lambda: world.connections == 0)


def test_exempt_clients_are_not_even_counted(new_world: NewWorld) -> None:
    world = new_world(smtpd_client_connection_count_limit="1")
    with world.connect() as one, world.connect() as two:
        assert one.reply().startswith("220 ")
        assert two.reply().startswith("220 ")
    assert world.connections == 0


def test_rates_of_messages_recipients_and_logins(new_world: NewWorld) -> None:
    world = new_world(
        **STRANGERS,
        smtpd_client_message_rate_limit="2",
        smtpd_client_recipient_rate_limit="2",
        smtpd_client_auth_rate_limit="1",
        smtpd_client_new_tls_session_rate_limit="1",
    )
    with world.connect("submission") as client:
        client.greeted()
        client.ask("AUTH LOGIN")
        client.ask("*")
        assert client.ask("AUTH LOGIN") == "450 4.7.1 Error: too many AUTH commands from 127.0.0.1"
        assert client.ask("MAIL FROM:<a@b>").startswith("250 ")
        assert client.ask("RCPT TO:<alice@example.test>").startswith("250 ")
        assert client.ask("RCPT TO:<alice@example.test>").startswith("250 ")
        answer = client.ask("RCPT TO:<alice@example.test>")
        assert answer == "450 4.7.1 Error: too many recipients from 127.0.0.1"
        client.ask("RSET")
        assert client.ask("MAIL FROM:<a@b>").startswith("250 ")
        client.ask("RSET")
        assert client.ask("MAIL FROM:<a@b>") == "450 4.7.1 Error: too much mail from 127.0.0.1"
        assert client.ask("STARTTLS").startswith("220 ")
    with world.connect("submission") as client:
        client.greeted()
        assert client.ask("STARTTLS").startswith("454 4.7.0 Error: too many new TLS sessions ")


def test_recipients_over_the_limit(new_world: NewWorld) -> None:
    world = new_world(smtpd_recipient_limit="2", smtpd_recipient_overshoot_limit="30")
    with world.connect() as client:
        client.greeted()
        client.ask("MAIL FROM:<s@example.org>")
        answers = [client.ask("RCPT TO:<alice@example.test>")[:9] for _ in range(30)]
        assert answers == ["250 2.1.5"] * 2 + ["452 4.5.3"] * 28


def test_size_is_refused_before_and_after(new_world: NewWorld) -> None:
    world = new_world(message_size_limit="1000")
    with world.connect() as client:
        assert "SIZE 1000" in client.ask("EHLO c") or "SIZE 1000" in client.reply()
        assert client.ask("MAIL FROM:<s@example.org> SIZE=1001").startswith("552 5.3.4 ")
        client.ask("MAIL FROM:<s@example.org>")
        client.ask("RCPT TO:<alice@example.test>")
        client.ask("DATA")
        assert client.ask("x" * 1000 + "\r\n.").startswith("552 5.3.4 ")
    world.wait_for_log("^NOQUEUE: reject: MAIL from .*552 5.3.4 ")
    world.wait_for_log(": reject: DATA from .*552 5.3.4 ")


def test_a_full_house_asks_to_come_again(new_world: NewWorld) -> None:
    world = new_world(smtpd_session_limit="2")
    clients = [world.connect() for _ in range(3)]
    assert sorted(client.reply()[:9] for client in clients) == ["220 mail.", "220 mail.", "421 4.3.2"]
    for client in clients:
        client.sock.close()


def test_bare_newlines_of_strangers_are_refused_and_of_friends_made_right(new_world: NewWorld) -> None:
    world = new_world(smtpd_forbid_bare_newline_exclusions="192.0.2.1")
    with world.connect() as client:
        client.in_data()
        assert client.ask("a\nb\r\n.").startswith("521 5.5.2 ")
    world.wait_for_log(r"reject: DATA from localhost\[127.0.0.1\]: 521 5.5.2 .*bare <CR> or <LF> received; from=")
    world = new_world()
    with world.connect() as client:
        client.in_data()
        assert client.ask("a\nb\rc\r\n.").startswith("250 ")
    assert world.submitted[0].content.endswith(b"\r\n\r\na\r\nb c\r\n")


def test_replies_nobody_reads_stop_the_reading(world: World) -> None:
    with world.connect() as client:
        client.greeted()
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.sock.settimeout(1)
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 64_000_000:
                client.send(b"EHLO c\r\n" * 1000)
                sent += 8000
        assert sent < 40_000_000
    world.wait_for_log("^disconnect")


@pytest.mark.parametrize(
    "request_line", ["GET / HTTP/1.1", "POST /x", "CONNECT a:25 HTTP/1.0", "Subject: hello", "\x16\x03\x01"]
)
def test_what_is_no_mail_client_is_sent_away(world: World, request_line: str) -> None:
    with world.connect() as client:
        client.reply()
        answer = client.ask(request_line)
        assert answer in ("221 2.7.0 Error: I can break rules, too. Goodbye.", "500 5.5.2 Error: bad syntax")
        if answer.startswith("221"):
            assert client.reply() == ""
            world.wait_for_log(r"^warning: non-SMTP command from localhost\[127.0.0.1\]: " + re.escape(request_line))


def test_a_thousand_silent_sessions_are_cheap(new_world: NewWorld) -> None:
    import resource

    world = new_world()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    clients: list[Raw] = []
    with contextlib.suppress(OSError):
        for _ in range(400):
            clients.append(world.connect())
    for client in clients:
        assert client.reply().startswith("220 ")
    with world.connect() as one_more:
        one_more.in_data()
        assert one_more.ask("x\r\n.").startswith("250 ")
    used_kb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / len(clients)
    assert used_kb < 40  # both ends, in one process
    for client in clients:
        client.sock.close()
