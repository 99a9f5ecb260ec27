"""Any octets as a message: parts, BODYSTRUCTURE, ENVELOPE, header fields, decoding.

What holds: parts lie inside each other and in order; the wire texts are IMAP by a strict reader, with the numbers that
the offsets say; each part is found under its number; header fields are the header's own octets.
"""

from fuzz.target import Target
from fuzz.targets._imap_text import Value, read_whole
from posthouse.protocol.message.decoding import decode_header, decode_text, decode_transfer
from posthouse.protocol.message.envelope import envelope
from posthouse.protocol.message.header import FieldSelection, fields, header_end, unfold, unfold_exactly
from posthouse.protocol.message.scanner import MAX_NESTING, MAX_PARTS, Part, scan
from posthouse.protocol.message.structure import structures_of
from posthouse.protocol.pop3.content import dot_stuffed, top

_WANTED = FieldSelection([b"subject", b"to", b"content-type", b"x"])
_UNWANTED = FieldSelection([b"subject", b"to", b"content-type", b"x"], inverted=True)


def check(data: bytes) -> None:
    root = scan(data)
    _check_part(data, root, 0, len(data), 1)
    assert sum(1 for _ in root.walk()) <= MAX_PARTS + 1
    plain, extended = structures_of(data, root)
    _check_structure(root, read_whole(plain), read_whole(extended))
    _check_numbers(root)
    end = header_end(data)
    assert 0 <= end <= len(data)
    header = data[:end]
    shown = read_whole(envelope(header))
    assert isinstance(shown, list)
    assert len(shown) == 10
    for addresses in shown[2:8]:
        assert addresses is None or all(isinstance(one, list) and len(one) == 4 for one in addresses)
    for name, value in fields(header):
        assert name == name.lower()
        assert b"\r" not in unfold(value).replace(b"\r", b"", value.count(b"\r")) or b"\r" in value
        assert b"\n" not in unfold(value)
        assert b"\n" not in unfold_exactly(value)
        decode_header(unfold_exactly(value))
    for selection in (_WANTED, _UNWANTED):
        assert selection.select(header).endswith(b"\r\n")
    for part in root.walk():
        encoding = part.fields.get(b"content-transfer-encoding", b"")
        octets = decode_transfer(data[part.body_start : part.body_end], encoding)
        charset = next((value for name, value in part.parameters if name.lower() == b"charset"), b"")
        decode_text(octets[:2000], charset.decode("latin-1"))
    stuffed = dot_stuffed(data)
    if b"\n" not in data.replace(b"\r\n", b""):
        assert stuffed.endswith(b"\r\n.\r\n") or stuffed == b".\r\n"
        assert (
            b"\r\n.\r\n" not in stuffed[:-3].removeprefix(b".\r\n") + b"\r\n" or stuffed[:-5].count(b"\r\n.\r\n") == 0
        )
    assert data.startswith(top(data, 3))


def _check_part(data: bytes, part: Part, start: int, end: int, depth: int) -> None:
    assert depth <= MAX_NESTING + 1
    assert start <= part.header_start <= part.body_start <= part.body_end <= end
    assert part.body_lines == data.count(b"\n", part.body_start, part.body_end)
    at = part.body_start
    for child in part.children:
        assert child.header_start >= at
        at = child.body_end
        _check_part(data, child, part.body_start, part.body_end, depth + 1)


def _check_structure(part: Part, plain: Value, extended: Value) -> None:
    assert isinstance(plain, list)
    assert isinstance(extended, list)
    if part.is_multipart:
        bodies = [one for one in plain if isinstance(one, list)]
        assert len(bodies) == max(1, len(part.children))
        assert plain[-1] == part.sub_type.replace(b"\0", b"\xef\xbf\xbd")
        assert len(extended) == len(bodies) + 5
        for child, one, other in zip(part.children, bodies, extended, strict=False):
            _check_structure(child, one, other)
        return
    assert plain[6] == b"%d" % (part.body_end - part.body_start)
    assert extended[: len(plain)] == plain or part.is_message
    if part.is_message and part.children:
        assert len(plain) == 10
        assert len(extended) == 14
        _check_structure(part.children[0], plain[8], extended[8])
    elif part.main_type.lower() == b"text":
        assert plain[7] == b"%d" % part.body_lines
        assert len(extended) == 12
    else:
        assert len(plain) == 7
        assert len(extended) == 11


def _check_numbers(root: Part) -> None:
    assert root.find(()) is root
    if root.is_multipart:
        for number, child in enumerate(root.children[:20], 1):
            assert root.find((number,)) is child
        assert not root.children or root.find((len(root.children) + 1,)) is None


def _tree(depth: int) -> bytes:
    if not depth:
        return b"Content-Type: text/plain; charset=gb2312\r\nContent-Transfer-Encoding: base64\r\n\r\nxOO6ww==\r\n"
    inner = _tree(depth - 1)
    return (
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\npre\r\n--b%d\r\n%b\r\n--b%d\r\n"
        b"Content-Type: message/rfc822\r\n\r\n%b\r\n--b%d--\r\nafter\r\n" % (depth, depth, inner, depth, inner, depth)
    )


TARGET = Target(
    check,
    seeds=(
        b"From: =?utf-8?B?w6Q=?= <a@example.org>\r\nTo: x: a, \"b, c\" <d@e>;, (comment (nested)) f@[::1]\r\n"
        b"Subject: =?gb2312?Q?=C4=E3?= =?x?q?_?=\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n\r\nbody\r\n",
        b"Subject: root\r\n" + _tree(2),
        b"Content-Type: multipart/digest; boundary=\"a b\"\r\n\r\n--a b\r\n\r\nFrom: x\r\n\r\ny\r\n--a b--",
        b"Content-Type: text/html; name*0*=utf-8''a; name*1=b; x=\"q\\\"\"\r\nContent-Disposition: attachment; filename=f\r\n"
        b"Content-Language: en, de\r\nContent-ID: <x>\r\nContent-MD5: y\r\nContent-Location: z\r\n\r\n=41=\r\n",
        b"Content-Type: multipart/mixed; boundary=x\n\n--x\n--x\n\n--xy\n--x--\n",
        b"\r\n.\r\n..\r\n",
    ),
    words=(
        b"Content-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n", b"--x\r\n", b"--x--\r\n", b"--b1\r\n",
        b"--b2--\r\n", b"Content-Type: message/rfc822\r\n\r\n", b"Content-Type: text/plain; charset=",
        b"Content-Type: multipart/digest", b"; boundary=\"\"", b"; boundary=--",
        b"Content-Transfer-Encoding: quoted-printable\r\n", b"From: ", b"To: ", b"Cc: ",
        b"Content-Disposition: attachment; filename*0*=", b"Subject: ", b"=?utf-8?B?", b"?=", b"=?utf-8?Q?=00?=",
        b"\r\n\r\n", b"\r\n", b"\n", b"\r", b"\t", b"(", b")", b"\"", b"\\", b"<", b">", b"@", b",", b";", b":",
        b"utf-7", b"utf-16", b"hz", b"iso-2022-jp", b"idna", b"unicode_escape", b"\xff", b"\0", b"*1*=",
    ),
    separator=b"\r\n",
    max_octets=20_000,
)  # fmt: skip
