"""AUTH and TLS."""

import base64
import smtplib
from collections.abc import Callable

import pytest

from tests.services.smtpd.world import World

NewWorld = Callable[..., World]


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_plain_and_login(world: World) -> None:
    for mechanism in ("PLAIN", "LOGIN"):
        with smtplib.SMTP("127.0.0.1", world.ports["submission"]) as client:
            client.ehlo()
            client.user, client.password = "alice@example.test", "secret"
            method = client.auth_plain if mechanism == "PLAIN" else client.auth_login
            assert client.auth(mechanism, method)[0] == 235
            client.sendmail("alice@example.test", ["x@elsewhere.example"], "Subject: x\r\n\r\nx\r\n")
    assert [one.arrival.sasl_username for one in world.submitted] == ["alice@example.test"] * 2
    assert [one.arrival.sasl_method for one in world.submitted] == ["PLAIN", "LOGIN"]
    assert b"with ESMTPA id" in world.submitted[0].content
    queue_id = world.submitted[0].queue_id
    words = f"{queue_id}: client=localhost[127.0.0.1], sasl_method=PLAIN, sasl_username=alice@example.test"
    assert words in world.log()
    assert world.asked_auth[0].service == "smtp"
    assert world.asked_auth[0].remote == "127.0.0.1"


def test_a_wrong_password_is_logged_for_ban_tools(world: World) -> None:
    with world.connect("submission") as client:
        client.greeted()
        answer = client.ask("AUTH PLAIN " + encoded("\0alice@example.test\0wrong"))
        assert answer == "535 5.7.8 Error: authentication failed: (reason unavailable)"
    world.wait_for_log(
        r"^warning: localhost\[127.0.0.1\]: SASL PLAIN authentication failed: Password mismatch, "
        r"sasl_username=alice@example.test$"
    )
    world.wait_for_log(r"^disconnect from localhost\[127.0.0.1\] ehlo=1 auth=0/1 commands=1/2$")


def test_a_database_that_is_down_is_no_wrong_password(world: World) -> None:
    with world.connect("submission") as client:
        client.greeted()
        answer = client.ask("AUTH PLAIN " + encoded("\0alice@example.test\0down"))
        assert answer.startswith("454 4.7.0 Temporary authentication failure")
        assert client.ask("AUTH PLAIN " + encoded("\0alice@example.test\0secret")).startswith("235 ")


def test_a_cancelled_or_broken_exchange_leaves_the_session_usable(world: World) -> None:
    with world.connect("submission") as client:
        client.greeted()
        assert client.ask("AUTH LOGIN") == "334 VXNlcm5hbWU6"
        assert client.ask("*") == "501 5.7.0 Authentication aborted"
        assert client.ask("AUTH LOGIN") == "334 VXNlcm5hbWU6"
        assert client.ask("!!!").startswith("501 5.5.2 ")
        assert client.ask("AUTH CRAM-MD5").startswith("535 5.7.8 ")
        assert client.ask("NOOP").startswith("250 ")
    world.wait_for_log(
        r"SASL CRAM-MD5 authentication failed: Invalid authentication mechanism, sasl_username=\(unavailable\)$"
    )


def test_auth_is_not_offered_where_it_is_not_enabled(world: World) -> None:
    with world.connect("smtp") as client:
        client.reply()
        assert "AUTH" not in client.ask("EHLO c")
        assert client.ask("AUTH PLAIN AGEAYg==") == "503 5.5.1 Error: authentication not enabled"


def test_auth_only_under_tls(new_world: NewWorld) -> None:
    world = new_world(smtpd_tls_auth_only="yes")
    with world.connect("submission") as client:
        client.reply()
        assert "AUTH" not in client.ask("EHLO c")
        assert client.ask("AUTH PLAIN AGEAYg==").startswith("504 5.5.4 Encryption required")
        assert client.ask("STARTTLS").startswith("220 ")
        client.start_tls(world.tls_context())
        assert "AUTH PLAIN LOGIN" in client.ask("EHLO c")
        assert client.ask("AUTH PLAIN " + encoded("\0alice@example.test\0secret")).startswith("235 ")


def test_noplaintext_leaves_no_mechanism_without_tls(new_world: NewWorld) -> None:
    options = {
        "smtpd_sasl_security_options": "noanonymous, noplaintext",
        "smtpd_sasl_tls_security_options": "noanonymous",
    }
    world = new_world(**options)
    with world.connect("submission") as client:
        client.reply()
        assert "AUTH" not in client.ask("EHLO c")


def test_starttls(new_world: NewWorld) -> None:
    world = new_world(smtpd_tls_loglevel="1", smtpd_tls_received_header="yes")
    with smtplib.SMTP("127.0.0.1", world.ports["smtp"]) as client:
        assert "starttls" in (client.ehlo() and client.esmtp_features)
        client.starttls(context=world.tls_context())
        client.ehlo()
        assert "starttls" not in client.esmtp_features
        client.sendmail("s@example.org", ["alice@example.test"], "Subject: x\r\n\r\nx\r\n")
    content = world.submitted[0].content
    assert b"with ESMTPS id" in content
    assert b"\r\n\t(using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits))\r\n" in content
    world.wait_for_log(r"^Anonymous TLS connection established from localhost\[127.0.0.1\]: TLSv1.3 with cipher ")
    world.wait_for_log(r"ehlo=2 starttls=1 mail=1 rcpt=1 data=1 quit=1 commands=7$")


def test_commands_sent_ahead_of_tls_are_forgotten(world: World) -> None:
    with world.connect() as client:
        client.greeted()
        client.send(b"STARTTLS\r\nMAIL FROM:<evil@example.org>\r\nRCPT TO:<alice@example.test>\r\n")
        assert client.reply().startswith("220 ")
        client.start_tls(world.tls_context())
        assert client.ask("RCPT TO:<alice@example.test>").startswith("503 ")
        assert client.ask("NOOP") == "250 2.0.0 Ok"


def test_clear_text_behind_starttls_breaks_the_handshake_and_nothing_else(world: World) -> None:
    with world.connect() as client:
        client.greeted()
        assert client.ask("STARTTLS").startswith("220 ")
        client.send(b"MAIL FROM:<evil@example.org>\r\n" * 10)
        world.wait_for_log(r"^SSL_accept error from localhost\[127.0.0.1\]: ")
        world.wait_for_log(r"^disconnect from localhost\[127.0.0.1\] ehlo=1 starttls=1 commands=2$")
    assert not any("mail" in line for line in world.log() if line.startswith("disconnect"))


def test_tls_first(world: World) -> None:
    for _ in range(20):
        with smtplib.SMTP_SSL("127.0.0.1", world.ports["submissions"], context=world.tls_context()) as client:
            client.login("alice@example.test", "secret")
            client.sendmail("alice@example.test", ["x@elsewhere.example"], "Subject: x\r\n\r\nx\r\n")
    assert len(world.submitted) == 20
    assert b"with ESMTPSA id" in world.submitted[0].content


def test_clear_text_where_tls_comes_first(world: World) -> None:
    with world.connect("submissions") as client:
        client.send(b"EHLO c\r\n")
        assert client.reply() == ""
    world.wait_for_log(r"^connect from localhost\[127.0.0.1\]")
    world.wait_for_log(r"^SSL_accept error from localhost\[127.0.0.1\]: ")
    world.wait_for_log(r"^disconnect from localhost\[127.0.0.1\] commands=0$")


def test_where_tls_is_mandatory_nothing_else_works_without(new_world: NewWorld) -> None:
    world = new_world(smtpd_tls_security_level="encrypt")
    with world.connect() as client:
        client.greeted()
        assert client.ask("MAIL FROM:<s@example.org>") == "530 5.7.0 Must issue a STARTTLS command first"
        assert client.ask("NOOP").startswith("250 ")


def test_without_certificate_there_is_no_tls_and_the_log_says_so(new_world: NewWorld) -> None:
    world = new_world(smtpd_tls_cert_file="", smtpd_tls_key_file="")
    with world.connect() as client:
        client.reply()
        assert "STARTTLS" not in client.ask("EHLO c")
        assert client.ask("STARTTLS").startswith("454 4.7.0 ")
    world.wait_for_log("^warning: No server certs available. TLS won't be enabled")
    with world.connect("submissions") as client:
        assert client.reply() == ""
    world.wait_for_log(r"^warning: Wrapper-mode request dropped from localhost\[127.0.0.1\]")


def test_lines_of_a_listener_carry_its_name(world: World) -> None:
    with world.connect("submission") as client:
        client.greeted()
    world.wait_for_log("^disconnect")
    services = {getattr(line, "service", line.program) for line in world.lines}
    assert services == {"submission/smtpd"}


@pytest.mark.parametrize("step", [1, 100])
def test_a_handshake_in_small_packets(world: World, step: int) -> None:
    import ssl

    context = world.tls_context()
    with world.connect() as client:
        client.greeted()
        client.ask("STARTTLS")
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, server_hostname="mail.example.test")
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                data = outgoing.read()
                for at in range(0, len(data), step):
                    client.send(data[at : at + step])
                incoming.write(client.sock.recv(65536))
        client.send(outgoing.read())
        tls.write(b"NOOP\r\n")
        client.send(outgoing.read())
        while True:
            try:
                assert tls.read(100) == b"250 2.0.0 Ok\r\n"
                break
            except ssl.SSLWantReadError:
                incoming.write(client.sock.recv(65536))
