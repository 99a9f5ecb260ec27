"""Browsers and other programs that are made to speak to the wrong port."""

import pytest

from tests.attacks.wire import Wire
from tests.running import RunningSystem

MESSAGE = b"MAIL FROM:<evil@example.org>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\nSubject: crossed\r\n\r\nx\r\n.\r\n"
COMMANDS = {
    "smtp": b"EHLO x\r\n" + MESSAGE,
    "submission": b"EHLO x\r\n" + MESSAGE,
    "lmtp": b"LHLO x\r\n" + MESSAGE,
    "imap": b"a LOGIN bob@example.test builder\r\nb CREATE crossed\r\n",
    "pop3": b"USER bob@example.test\r\nPASS builder\r\nSTAT\r\n",
}


@pytest.mark.parametrize("endpoint", list(COMMANDS))
@pytest.mark.parametrize("verb", [b"GET", b"POST", b"PUT", b"CONNECT", b"OPTIONS", b"HEAD"])
def test_http_ends_the_session_before_its_body_is_read(system: RunningSystem, endpoint: str, verb: bytes) -> None:
    body = COMMANDS[endpoint]
    request = b"%s / HTTP/1.1\r\nHost: mail.example.test\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % (
        verb,
        len(body),
    )
    with Wire(system.endpoint(endpoint)) as wire:
        answer = wire.send(request + body).rest(1.0)
        assert wire.is_closed()
    for success in (b"queued as", b"Saved", b"a OK", b"b OK", b"+OK 0", b"Logged in"):
        assert success not in answer
    assert system.files("bob") == []


@pytest.mark.parametrize("endpoint", list(COMMANDS))
@pytest.mark.parametrize(
    "octets",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(512),
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x00" * 4096,
        b"\xff\xf4\xff\xfd\x06" * 200,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00",
    ],
    ids=["tls", "ssh", "nul", "telnet", "http2", "rdp"],
)
def test_other_protocols_are_answered_or_cut_off_and_harm_nobody(
    system: RunningSystem, endpoint: str, octets: bytes
) -> None:
    with Wire(system.endpoint(endpoint)) as wire:
        wire.send(octets).rest(0.1)
    with Wire(system.endpoint(endpoint)) as wire:
        assert wire.line()[:3] in (b"220", b"* O", b"+OK")
