"""Octets of strangers: whatever comes, the core answers or waits, keeps its bounds and never raises."""

from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.protocol.smtp.line_ends import is_clean
from posthouse.protocol.smtp.options import Options
from posthouse.protocol.smtp.states import State
from tests.protocol.smtp.talk import Talk

OPTIONS = Options(size_limit=2000, recipient_limit=3, command_limit=512, inline_limit=300)
VERBS = [
    b"EHLO c.example", b"HELO c", b"LHLO c", b"MAIL FROM:<s@example.org>", b"MAIL FROM:<> BODY=8BITMIME SIZE=5",
    b"RCPT TO:<a@example.test>", b"RCPT TO:<@h:a@example.test> NOTIFY=NEVER", b"DATA", b"BDAT 5", b"BDAT 5 LAST",
    b"BDAT 0 LAST", b"RSET", b"NOOP", b"VRFY a", b"ETRN x", b"HELP", b"QUIT", b"STARTTLS", b"AUTH PLAIN AGEAYg==",
    b"AUTH LOGIN", b"*", b"YQ==", b"", b".", b"..", b"GET / HTTP/1.1", b"Subject: x", b"12345", b"\xff\xfe", b"\0",
]  # fmt: skip
ENDS = [b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b"", b"\r\n.\r\n"]
LINES = st.tuples(st.one_of(st.sampled_from(VERBS), st.binary(max_size=30)), st.sampled_from(ENDS)).map(b"".join)


@given(st.lists(LINES, max_size=30), st.integers(1, 64), st.booleans(), st.booleans())
@settings(max_examples=400, deadline=None)
def test_any_dialogue_is_survived_and_packets_make_no_difference(
    lines: list[bytes], step: int, normalizes: bool, is_lmtp: bool
) -> None:
    data = b"".join(lines)
    options = OPTIONS if not is_lmtp else Options(is_lmtp=True, size_limit=2000, inline_limit=300)
    whole, pieces = Talk(options, normalizes=normalizes), Talk(options, normalizes=normalizes)
    if b"STARTTLS" in data:
        # What was sent ahead of TLS is forgotten, so there packets do make a difference.
        whole.send(data)
        pieces.slowly(data, step)
    else:
        assert whole.send(data) == pieces.slowly(data, step)
        assert whole.messages == pieces.messages
        assert whole.state is pieces.state
    for talk in (whole, pieces):
        assert all(is_clean(one) for one in talk.messages)
        assert talk.core.unread <= 12_288 + 2
        assert talk.core.is_waiting_for_client or talk.state is State.CLOSED


@given(st.binary(max_size=3000))
@settings(max_examples=300, deadline=None)
def test_noise_is_survived(data: bytes) -> None:
    talk = Talk(OPTIONS)
    for line in talk.send(data).splitlines():
        assert line[:1] in b"245"
