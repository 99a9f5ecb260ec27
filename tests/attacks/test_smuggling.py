"""SMTP smuggling: an end of data that one server sees and the next does not (CVE-2023-51764 and its kin)."""

import re

import pytest

from tests.attacks.wire import Recorder, Wire
from tests.running import RunningSystem

ENDS = (
    *(b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\r.\n", b"\n.\r", b"\r\r\n.\r\r\n"),
    *(
        b"\r\n.\r\r\n",
        b"\r\r\n.\r\n",
        b"\r\n\x00.\r\n",
        b"\r\n.\x00\r\n",
        b"\r\n.\r\x00\n",
        b"\r\n. \r\n",
        b"\r\n .\r\n",
    ),
    *(
        b"\r\n.\t\r\n",
        b"\r\n.\x0b\r\n",
        b"\r\n.\x0c\r\n",
        b"\r\n.\xc2\x85\r\n",
        b"\r\n.\xe2\x80\xa8\r\n",
        b"\r\n\xef\xbc\x8e\r\n",
    ),
    *(b"\r\n..\r\n", b"\x0b.\x0b", b"\x0c.\x0c", b"\x85.\x85", b"\xe2\x80\xa8.\xe2\x80\xa8", b"\r\n.\r\n\r\n."),
)
SMUGGLED = (
    b"MAIL FROM:<admin@example.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n"
    b"Subject: smuggled\r\n\r\nsmuggled\r\n.\r\n"
)
ANY_END = re.compile(rb"(?:\r\n|\r|\n)\.(?:\r\n|\r|\n)")


def content(mark: str, end: bytes) -> bytes:
    return b"Subject: %s\r\n\r\nbefore%s" % (mark.encode(), end)


@pytest.mark.parametrize("end", [one for one in ENDS if one != b"\r\n.\r\n\r\n."], ids=repr)
@pytest.mark.parametrize("endpoint", ["smtp", "lmtp"])
def test_no_second_message_comes_in(system: RunningSystem, end: bytes, endpoint: str) -> None:
    mark = f"{endpoint}{ENDS.index(end)}"
    with Wire(system.endpoint(endpoint)) as wire:
        wire.reply()
        wire.send(b"LHLO x.example\r\n" if endpoint == "lmtp" else b"EHLO x.example\r\n").reply()
        wire.send(b"MAIL FROM:<stranger@example.org>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n")
        assert [wire.reply()[:1] for _ in range(3)] == [b"2", b"2", b"3"]
        wire.send(content(mark, end) + SMUGGLED)
        answers = wire.rest()
        # One end of data, one answer; then the smuggled commands are content, or the connection is over.
        assert answers.count(b"\r\n") <= 2, answers
        wire.send(b"QUIT\r\n")
        wire.rest()
    if answers.startswith(b"250"):
        assert b"before" in system.wait_for_message(f"Subject: {mark}\n")
    assert system.files("bob") == []


@pytest.mark.parametrize("end", ENDS, ids=repr)
def test_no_second_message_goes_out(system: RunningSystem, recorder: Recorder, end: bytes) -> None:
    """What a relay behind us might take for the end of data stands at the end only."""
    mark = f"out{ENDS.index(end)}"
    with Wire(system.endpoint("submission")) as wire:
        wire.ehlo()
        wire.send(b"STARTTLS\r\n").reply()
        wire.encrypt()
        wire.send(b"EHLO x.example\r\n").reply()
        wire.send(b"AUTH PLAIN AGFsaWNlQGV4YW1wbGUudGVzdAB3b25kZXJsYW5k\r\n")
        assert wire.reply().startswith(b"235")
        wire.send(b"MAIL FROM:<alice@example.test>\r\nRCPT TO:<friend@example.net>\r\nDATA\r\n")
        assert [wire.reply()[:1] for _ in range(3)] == [b"2", b"2", b"3"]
        wire.send(content(mark, end) + b"MAIL FROM:<x@example.test>\r\nafter\r\n.\r\n")
        answer = wire.rest()
    if not answer.startswith(b"250"):
        assert answer[:1] in b"45"
        return
    wanted = b"Subject: " + mark.encode() + b"\r\n"
    system.wait_until(lambda: any(wanted in one for one in recorder.contents()), f"{mark} at the relay")
    (sent,) = [one for one in recorder.contents() if wanted in one]
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", sent), "a stray CR or LF goes out"
    assert [found.end() for found in ANY_END.finditer(sent)] == [len(sent)]
