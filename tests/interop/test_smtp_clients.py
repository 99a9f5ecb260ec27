"""Foreign programs send: swaks, smtp-source, smtplib, msmtp; what they sent is read back octet for octet."""

import smtplib
import ssl
import subprocess
from pathlib import Path

import pytest

from tests.interop import messages
from tests.interop.world import World


def test_swaks_sends_with_tls_and_password(world: World) -> None:
    host, port = world.endpoint("submission")
    done = world.run(
        "swaks",
        *(
            "--server",
            host,
            "--port",
            port,
            "--tls",
            "--auth",
            "PLAIN",
            "--auth-user",
            world.user,
            "--auth-password",
            world.password,
        ),
        *("--from", world.user, "--to", world.user, "--header", "Subject: by swaks", "--body", "from swaks"),
    )
    assert "250 2.0.0 Ok: queued as" in done.stdout
    assert b"from swaks" in world.wait_for_subject("by swaks")


def test_swaks_sends_with_implicit_tls_and_auth_login(world: World) -> None:
    host, port = world.endpoint("submissions")
    world.run(
        "swaks",
        *("--server", host, "--port", port, "--tls-on-connect", "--auth", "LOGIN"),
        *("--auth-user", world.user, "--auth-password", world.password),
        *("--from", world.user, "--to", world.user, "--header", "Subject: smtps by swaks"),
    )
    world.wait_for_subject("smtps by swaks")


def test_swaks_delivers_by_lmtp(world: World) -> None:
    host, port = world.endpoint("lmtp")
    world.run(
        "swaks",
        *("--protocol", "LMTP", "--server", host, "--port", port, "--from", "s@example.org", "--to", world.user),
        *("--header", "Subject: lmtp by swaks"),
    )
    world.wait_for_subject("lmtp by swaks", within_s=0.5)  # LMTP answers after final delivery


def test_lmtp_refuses_each_unknown_recipient_by_itself(world: World) -> None:
    host, port = world.endpoint("lmtp")
    with smtplib.LMTP(host, port, timeout=20) as client:
        refused = client.sendmail("s@example.org", [world.user, "nobody@example.test"], messages.dots())
    assert list(refused) == ["nobody@example.test"]
    assert refused["nobody@example.test"][0] == 550


@pytest.mark.parametrize("name", messages.ALL)
def test_every_octet_survives_smtplib(world: World, name: str) -> None:
    content = messages.ALL[name]().replace(b"Subject: ", b"X-Case: " + name.encode() + b"\r\nSubject: ", 1)
    host, port = world.endpoint("smtp")
    with smtplib.SMTP(host, port, timeout=20) as client:
        client.sendmail("s@example.org", [world.user], content, mail_options=["BODY=8BITMIME"])
    stored = world.wait_for_text(f"X-Case: {name}")
    assert messages.body(stored) == messages.body(content)
    assert world.imap_fetch(f"X-Case: {name}").endswith(messages.body(content))


def test_smtp_source_sends_a_hundred_on_ten_connections(world: World) -> None:
    host, port = world.endpoint("smtp")
    before = world.count()
    world.run(
        "smtp-source", "-s", "10", "-m", "100", "-l", "2000", "-f", "s@example.org", "-t", world.user, f"{host}:{port}"
    )
    world.wait_until(lambda: world.count() == before + 100, "a hundred messages")


def test_msmtp_sends_over_verified_starttls(world: World, tmp_path: Path) -> None:
    host, port = world.endpoint("submission")
    configuration = tmp_path / "msmtprc"
    configuration.write_text(
        f"account default\nhost {host}\nport {port}\nfrom {world.user}\nauth plain\nuser {world.user}\n"
        f"password {world.password}\ntls on\ntls_starttls on\ntls_trust_file {world.ca_file}\n"
    )
    configuration.chmod(0o600)
    message = messages.utf8().replace(b"Subject: ", b"X-Case: msmtp\r\nSubject: ", 1).replace(b"\r\n", b"\n")
    world.require("msmtp")
    subprocess.run(
        ["msmtp", "-C", configuration, world.user], input=message, check=True, timeout=30, capture_output=True
    )
    assert messages.body(world.wait_for_text("X-Case: msmtp")) == messages.body(messages.utf8())


def test_sendmail_command_delivers_and_adds_what_is_missing(world: World) -> None:
    subprocess.run(
        [world.program("sendmail"), "-C", world.configuration, "-oi", "-f", "s@example.org", world.user],
        input=b"Subject: by sendmail\n\n.\nnot the end\n",
        check=True,
        timeout=30,
    )
    stored = world.wait_for_subject("by sendmail")
    assert stored.replace(b"\r\n", b"\n").endswith(b"\n\n.\nnot the end\n")
    for field in (b"Received: ", b"Message-I", b"Date: ", b"From: "):
        assert b"\n" + field in stored.replace(b"Message-ID", b"Message-I").replace(b"Message-Id", b"Message-I")


def test_sendmail_t_takes_recipients_from_the_header_and_hides_bcc(world: World) -> None:
    subprocess.run(
        [world.program("sendmail"), "-C", world.configuration, "-t", "-i"],
        input=f"From: s@example.org\nTo: {world.user}\nBcc: {world.other}\nSubject: by header\n\nhi\n".encode(),
        check=True,
        timeout=30,
    )
    assert b"Bcc" not in world.wait_for_subject("by header")
    assert b"Bcc" not in world.wait_for_subject("by header", user=world.other)


def test_submission_without_password_is_refused(world: World) -> None:
    host, port = world.endpoint("submission")
    context = ssl.create_default_context(cafile=world.ca_file)
    context.check_hostname = False
    with smtplib.SMTP(host, port, timeout=20) as client:
        client.starttls(context=context)
        client.ehlo()
        with pytest.raises(smtplib.SMTPAuthenticationError) as wrong:
            client.login(world.user, "wrong")
        assert wrong.value.smtp_code == 535
    world.expect_log("SASL (PLAIN|LOGIN|CRAM-MD5) authentication failed")


def test_unknown_recipients_are_refused_during_rcpt(world: World) -> None:
    host, port = world.endpoint("smtp")
    with smtplib.SMTP(host, port, timeout=20) as client:
        client.helo("client.example")
        client.mail("s@example.org")
        code, text = client.rcpt("nobody@example.test")
    assert code == 550
    assert text.startswith(b"5.1.1 ")


def test_a_user_that_was_just_added_gets_mail_at_once(world: World) -> None:
    name = "newcomer@example.test"
    subprocess.run(
        [world.program("posthouse"), "-c", world.configuration, "user", "add", name, "--password-stdin"],
        input=b"secret\n",
        check=True,
        timeout=30,
    )
    host, port = world.endpoint("smtp")
    with smtplib.SMTP(host, port, timeout=20) as client:
        client.sendmail("s@example.org", [name], b"Subject: welcome\r\n\r\nhi\r\n")
    world.wait_for_subject("welcome", user=name)
