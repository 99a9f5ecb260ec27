"""Open relay: every known way to write a foreign address so that it looks like ours."""

import pytest

from tests.attacks.wire import Recorder, Wire
from tests.running import RunningSystem

FOREIGN = (
    b"victim@example.net",
    b"victim%example.net@example.test",
    b"victim%example.net@[127.0.0.1]",
    b"victim%example.net@localhost",
    b"victim%example.net",
    b'"victim@example.net"@example.test',
    b'"victim@example.net"',
    b'"victim%example.net"@example.test',
    b"@example.test:victim@example.net",
    b"@example.test,@localhost:victim@example.net",
    b"example.net!victim@example.test",
    b"example.net!victim",
    b"example.test!example.net!victim",
    b"victim@example.net@example.test",
    b"victim@example.test@example.net",
    b"victim@[192.0.2.1]",
    b"victim@[IPv6:2001:db8::1]",
    b"victim@[127.0.0.1]@example.net",
    b"victim@example.test.example.net",
    b"victim@example.net.",
    b"victim@example.test\\.example.net",
    b"victim@EXAMPLE.NET",
    b"victim@(example.test)example.net",
    b"victim(@example.test)@example.net",
    b"victim@example.net(@example.test)",
    b"victim@ex\xc3\xa4mple.test",
    b"victim@xn--exmple-cua.test",
    b"victim@\xd0\xb5xample.test",
    b"victim@example\xe3\x80\x82test.example.net",
    b"victim@example.net\\0@example.test",
    b"victim @example.net",
    b"victim@",
    b"@example.net",
    b"victim@.example.net",
    b"alice@example.test,victim@example.net",
    b"alice@example.test> <victim@example.net",
    b"alice@example.test>,<victim@example.net",
    b"alice+victim=example.net@example.test@example.net",
    b'""victim"@example.net',
    b"victim\\@example.net@example.net",
    b"[victim@example.net]",
    b"smtp:victim@example.net",
    b"postmaster@example.net",
)


@pytest.mark.parametrize("address", FOREIGN, ids=repr)
@pytest.mark.parametrize(
    "sender", [b"stranger@example.org", b"alice@example.test", b""], ids=["foreign", "ours", "null"]
)
def test_nothing_is_relayed_for_a_stranger(
    system: RunningSystem, recorder: Recorder, address: bytes, sender: bytes
) -> None:
    with Wire(system.endpoint("smtp")) as wire:
        wire.ehlo()
        assert wire.send(b"MAIL FROM:<%s> SMTPUTF8\r\n" % sender).reply().startswith(b"250")
        answer = wire.send(b"RCPT TO:<%s>\r\n" % address).reply()
        assert answer[:1] in (b"4", b"5"), f"{address!r} is accepted: {answer!r}"
        assert wire.send(b"DATA\r\n").reply()[:3] in (b"503", b"554"), "content without a recipient"
    assert recorder.streams == []


@pytest.mark.parametrize(
    "address", [b"victim%example.net", b"example.net!victim", b'"victim@example.net"', b"postmaster"]
)
def test_what_looks_foreign_and_is_accepted_stays_here(
    system: RunningSystem, recorder: Recorder, address: bytes
) -> None:
    """Local parts may look like anything; what we answer to them must not lead elsewhere."""
    with Wire(system.endpoint("smtp")) as wire:
        wire.ehlo()
        wire.send(b"MAIL FROM:<stranger@example.org>\r\n").reply()
        if not wire.send(b"RCPT TO:<%s@example.test>\r\n" % address).reply().startswith(b"250"):
            return
        wire.send(b"DATA\r\n").reply()
        wire.send(b"Subject: stays\r\n\r\nx\r\n.\r\n").reply()
    assert system.command("postqueue", "-p").stdout
    assert recorder.streams == []


def test_the_relay_would_be_seen(system: RunningSystem, recorder: Recorder) -> None:
    """The proof that the other tests can fail: for a user it is used."""
    with Wire(system.endpoint("submission")) as wire:
        wire.ehlo()
        wire.send(b"STARTTLS\r\n").reply()
        wire.encrypt()
        wire.send(b"EHLO x.example\r\nAUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdAB3b25kZXJsYW5k\r\n")
        wire.reply()
        assert wire.reply().startswith(b"235")
        wire.send(b"MAIL FROM:<alice@example.test>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\n")
        assert [wire.reply()[:1] for _ in range(3)] == [b"2", b"2", b"3"]
        assert wire.send(b"Subject: proof\r\n\r\nx\r\n.\r\n").reply().startswith(b"250")
    system.wait_until(lambda: len(recorder.contents()) == 1, "the message at the relay")
    recorder.streams.clear()
