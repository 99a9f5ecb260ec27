"""Content from the sending core to the receiving one: what leaves us arrives as it was, however it is cut."""

from fuzz.target import Target
from posthouse.core.reply import Reply
from posthouse.protocol.smtp.client_content import ContentEncoder, break_long_lines, mend_line_ends, whole_message
from posthouse.protocol.smtp.content import ContentReader
from posthouse.protocol.smtp.line_ends import is_clean

_BARE = Reply.of(550, "5.5.2", "bare")


def received(wire: bytes, step: int) -> bytes:
    reader = ContentReader(0, _BARE, is_dotted=True)
    out: list[bytes] = []
    for at in range(0, len(wire), step):
        piece = wire[at : at + step]
        used = reader.feed(piece)
        taken = reader.take()
        out.append(taken)
        if used >= 0:
            assert at + used == len(wire), "the end was seen before the end"
            assert reader.refusal is None
            assert reader.size == sum(map(len, out))
            return b"".join(out)
    raise AssertionError("the end was not seen")


def check(data: bytes) -> None:
    if len(data) < 3:
        return
    limit = (0, 0, 0, 78, 998, 1, 2, 3)[data[0] % 8]
    cut, step = data[1] % 60 + 1, data[2] % 60 + 1
    content = data[3:]
    mended = mend_line_ends(content)
    assert is_clean(mended)
    expected = break_long_lines(mended, limit)
    if expected and not expected.endswith(b"\r\n"):
        expected += b"\r\n"
    assert limit == 0 or max(map(len, expected.split(b"\r\n"))) <= max(limit, 2)
    wire = whole_message(content, limit)
    assert received(wire, len(wire)) == expected
    assert received(wire, step) == expected
    encoder = ContentEncoder(limit)
    pieces = b"".join(encoder.feed(content[at : at + cut]) for at in range(0, len(content), cut)) + encoder.finish()
    assert pieces == wire


TARGET = Target(
    check,
    seeds=(
        b"\0\x05\x07Subject: x\r\n\r\n.\r\n..\r\n.a\r\nno end",
        b"\3\1\1" + b"long " * 40 + b"\r\n.\r\n",
        b"\0\2\3a\rb\nc\r\r\nd\n.\n\r\n.\r\n",
        b"\5\x09\x02...\r\n\r\n",
    ),
    words=(
        b"\r\n", b"\r\n.\r\n", b"\n.\n", b"\r", b"\n", b".", b"..", b"\r\n..", b"\r\n.",
    ),
    separator=b"\r\n",
)  # fmt: skip
