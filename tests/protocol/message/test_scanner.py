"""Parts by offsets, their limits, and any octets at all."""

import time

from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.protocol.message import scanner
from posthouse.protocol.message.scanner import Part, scan
from posthouse.protocol.message.structure import structures
from tests.protocol.message.data.messages import MESSAGES
from tests.protocol.message.wiretext import read

NESTED = MESSAGES["alternative with related and attachment"].replace(b"\n", b"\r\n")


def body(content: bytes, *path: int) -> bytes | None:
    part = scan(content).find(path)
    return None if part is None else content[part.body_start : part.body_end]


def test_section_numbers_name_parts() -> None:
    assert body(NESTED, 1, 1) == b"xOO6ww==\r\n"
    assert body(NESTED, 1, 2, 1) == b"<p>"
    assert body(NESTED, 1, 2, 2) == b"GIF"
    assert body(NESTED, 2) == b"PDF"
    assert body(NESTED, 3) is None
    assert body(NESTED, 2, 1) is None


def test_part_one_of_a_plain_message_is_its_body() -> None:
    content = b"Subject: x\r\n\r\nbody\r\n"
    assert body(content, 1) == b"body\r\n"
    assert body(content, 2) is None
    assert body(content, 1, 1) is None


def test_numbers_go_through_an_embedded_message() -> None:
    content = (
        b"Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: message/rfc822\r\n\r\n"
        b"Subject: inner\r\nContent-Type: multipart/mixed; boundary=i\r\n\r\n--i\r\n\r\none\r\n--i\r\n\r\ntwo\r\n"
        b"--i--\r\n\r\n--o--\r\n"
    )
    assert body(content, 1, 2) == b"two"
    embedded = scan(content).find((1,))
    assert embedded is not None
    assert embedded.is_message
    inner = embedded.children[0]
    assert content[inner.header_start : inner.body_start].startswith(b"Subject: inner\r\n")


def test_an_embedded_message_without_parts_has_part_one() -> None:
    content = b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ntext\r\n"
    assert body(content, 1) == b"Subject: inner\r\n\r\ntext\r\n"
    assert body(content, 1, 1) == b"text\r\n"
    assert body(content, 1, 1, 1) is None


def test_bare_line_feeds_end_lines_too() -> None:
    content = b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b\n\ntwo\n--b--\n"
    assert body(content, 1) == b"one"
    assert body(content, 2) == b"two"


def depth(part: Part) -> int:
    return 1 + max((depth(child) for child in part.children), default=0)


def test_nesting_is_bounded() -> None:
    content = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (level, level) for level in range(5000)
    )
    assert depth(scan(content)) <= scanner.MAX_NESTING
    assert depth(scan(b"Content-Type: message/rfc822\r\n\r\n" * 5000)) <= scanner.MAX_NESTING


def test_the_number_of_parts_is_bounded() -> None:
    content = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 30000
    assert len(list(scan(content).walk())) <= scanner.MAX_PARTS


def test_a_hostile_message_takes_bounded_time() -> None:
    content = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n" + b"\n--" * 3_000_000
    began = time.process_time()
    structures(content)
    assert time.process_time() - began < 5
    header = b"X: y\r\n" + b"\r\n".join([b" z"] * 500_000) + b"\r\n\r\n"
    began = time.process_time()
    structures(header)
    assert time.process_time() - began < 5


PIECES = st.sampled_from(
    [
        b"Content-Type: multipart/mixed; boundary=b\r\n",
        b'Content-Type: multipart/digest; boundary="bb"\r\n',
        b"Content-Type: message/rfc822\r\n",
        b"Content-Type: text/plain; a*0=x; a*1*=y",
        b'Content-Disposition: attachment; filename="x',
        b"Content-Language: a, b\r\n",
        b"\r\n",
        b"\r\n\r\n",
        b"--b\r\n",
        b"--bb\r\n",
        b"--b--\r\n",
        b"--bb--",
        b"text\r\n",
        b"\n",
        b"\r",
        b"\0",
        b" folded\r\n",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(PIECES | st.binary(max_size=20), max_size=30))
def test_any_octets_have_a_structure_that_reads_back(pieces: list[bytes]) -> None:
    content = b"".join(pieces)
    plain, extended = structures(content)
    assert len(read(plain)) == 1
    assert len(read(extended)) == 1
    for part in scan(content).walk():
        assert 0 <= part.header_start <= part.body_start <= part.body_end <= len(content)
        assert part.body_lines == content.count(b"\n", part.body_start, part.body_end)


def test_a_line_in_an_embedded_header_is_no_delimiter_of_the_parts_it_announces() -> None:
    content = (
        b"Content-Type: multipart/mixed; boundary=o\r\n\r\n--o\r\nContent-Type: message/rfc822\r\n\r\n"
        b"Content-Type: multipart/mixed; boundary=i\r\n--i\r\nSubject: still header\r\n\r\n"
        b"--i\r\n\r\none\r\n--i--\r\n--o--\r\n"
    )
    embedded = scan(content).find((1,))
    assert embedded is not None
    inner = embedded.children[0]
    assert content[inner.header_start : inner.body_start].endswith(b"--i\r\nSubject: still header\r\n\r\n")
    assert [content[part.body_start : part.body_end] for part in inner.children] == [b"one"]


def test_an_embedded_message_contains_all_of_its_header() -> None:
    content = b"Content-Type: multipart/digest; boundary=o\r\n\r\n--o\r\n\r\nSubject: no empty line\r\n--o--\r\n"
    embedded = scan(content).find((1,))
    assert embedded is not None
    inner = embedded.children[0]
    assert embedded.body_start <= inner.header_start <= inner.body_end <= embedded.body_end
    assert body(content, 1) == b"Subject: no empty line\r\n"


def test_an_embedded_message_at_the_top_is_no_exception() -> None:
    content = (
        b"Content-Type: message/rfc822\r\n\r\nContent-Type: multipart/mixed; boundary=i\r\n--i\r\n\r\n"
        b"--i\r\n\r\none\r\n--i--\r\n"
    )
    inner = scan(content).children[0]
    assert [content[part.body_start : part.body_end] for part in inner.children] == [b"one"]
