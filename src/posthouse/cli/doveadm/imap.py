"""The IMAP client of doveadm: one session that is logged in from the start, one command at a time.

Its server is our own and understands LITERAL+ (RFC 7888 s4), so that a command leaves in one piece.
"""

import re
import socket
from collections.abc import Iterator, Sequence
from typing import Final

from posthouse.cli.doveadm.endings import EX_DATAERR, EX_NOHOST, EX_TEMPFAIL, Ended
from posthouse.protocol.imap.mailbox_name import decode_mailbox_name, encode_mailbox_name

TIMEOUT_S: Final = 600.0
"""A search through all bodies of a large mailbox may take minutes."""
LINE_LIMIT: Final = 64 * 1024 * 1024
"""Octets of one line; SEARCH answers with all numbers in one."""
LITERAL_LIMIT: Final = 1 << 31
_LITERAL: Final = re.compile(rb"\{([0-9]{1,10})\}\r\n\Z")
_CODES: Final = {"NONEXISTENT": EX_NOHOST, "TRYCREATE": EX_NOHOST, "ALREADYEXISTS": EX_DATAERR}
_PLAIN: Final = re.compile(rb"[\x20\x21\x23-\x5b\x5d-\x7e]{0,1000}\Z")
_NAME: Final = re.compile(rb"[A-Z0-9.]+(?:\[[\x20-\x5c\x5e-\x7e]*\])?(?:<[0-9]+>)?", re.IGNORECASE)
Piece = bytes
"""A line without its end, or a literal."""


class Refused(Ended):
    """NO or BAD; `text` is the server's."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(_CODES.get(code, EX_TEMPFAIL), text)
        self.text = text


class BrokenReply(Ended):
    def __init__(self, what: str) -> None:
        super().__init__(EX_TEMPFAIL, f"Fatal: the mailbox process answered what cannot be read: {what}")


def quoted(text: bytes) -> bytes:
    """As a string of IMAP: quoted if it can be, else a literal."""
    return b'"' + text + b'"' if _PLAIN.match(text) else b"{%d+}\r\n%b" % (len(text), text)


def wire_name(name: str) -> bytes:
    """A name as the administrator writes it."""
    return quoted(encode_mailbox_name(name))


class Imap:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        sock.settimeout(TIMEOUT_S)
        self._file = sock.makefile("rb")
        self._number = 0
        greeting = self._response()
        if not greeting.startswith(b"* PREAUTH"):
            raise BrokenReply("the greeting")

    def close(self) -> None:
        try:
            self._sock.sendall(b"bye LOGOUT\r\n")
            while self._file.readline(LINE_LIMIT):
                pass
        except OSError:
            pass
        finally:
            self._file.close()
            self._sock.close()

    def command(self, *words: bytes) -> list[bytes]:
        """The untagged responses, without "* ", literals in them as they came. Raises Refused."""
        return list(self.responses(*words))

    def responses(self, *words: bytes) -> Iterator[bytes]:
        """To be read to the end."""
        self._number += 1
        tag = b"d%d" % self._number
        self._sock.sendall(tag + b" " + b" ".join(words) + b"\r\n")
        while True:
            line = self._response()
            if line.startswith(b"* "):
                if line.startswith(b"* BYE"):
                    raise Ended(EX_TEMPFAIL, f"Fatal: the session was ended: {line[6:].decode(errors='replace')}")
                yield line[2:]
            elif line.startswith(tag + b" "):
                condition, _, text = line[len(tag) + 1 :].partition(b" ")
                if condition != b"OK":
                    raise _refusal(text.decode("utf-8", "replace"))
                return
            else:
                raise BrokenReply(repr(line[:60]))

    def _response(self) -> bytes:
        parts: list[bytes] = []
        while True:
            line = self._file.readline(LINE_LIMIT)
            if not line.endswith(b"\r\n"):
                raise Ended(EX_TEMPFAIL, "Fatal: the mailbox process closed the session")
            literal = _LITERAL.search(line)
            if literal is None:
                parts.append(line[:-2])
                return b"".join(parts)
            size = int(literal[1])
            if size > LITERAL_LIMIT:
                raise BrokenReply(f"a literal of {size} octets")
            data = self._file.read(size)
            if len(data) != size:
                raise Ended(EX_TEMPFAIL, "Fatal: the mailbox process closed the session")
            parts += (line, data)

    # ── what commands need ──

    def numbers(self, *words: bytes) -> list[int]:
        """UID SEARCH."""
        found: list[int] = []
        for line in self.responses(b"UID SEARCH", *words):
            if line.startswith(b"SEARCH"):
                found += map(int, line.split()[1:])
        return found

    def fetched(self, uids: Sequence[int], items: bytes) -> Iterator[tuple[int, dict[str, bytes]]]:
        """Sequence number and items of each message; what a message has not been asked for may be there too."""
        for line in self.responses(b"UID FETCH", sequence_set(uids), items):
            number, _, rest = line.partition(b" ")
            if number.isdigit() and rest.startswith(b"FETCH ("):
                yield int(number), fetch_items(rest[6:])

    def listed(self, what: bytes, mask: str = "*") -> list[tuple[str, frozenset[str]]]:
        """LIST or LSUB: names and attributes."""
        found: list[tuple[str, frozenset[str]]] = []
        for line in self.command(what, b'""', quoted(encode_mailbox_name(mask))):
            match = re.match(rb'(?:LIST|LSUB) \(([^)]*)\) (?:"(?:\\.|[^"])*"|NIL) (.*)\Z', line, re.DOTALL)
            if match is not None:
                name, _ = value_at(match[2], 0)
                attributes = frozenset(match[1].decode("ascii", "replace").split())
                found.append((decode_mailbox_name(name), attributes))
        return found


def sequence_set(uids: Sequence[int]) -> bytes:
    """Ascending numbers, with ranges."""
    parts: list[str] = []
    at = 0
    while at < len(uids):
        end = at
        while end + 1 < len(uids) and uids[end + 1] == uids[end] + 1:
            end += 1
        parts.append(f"{uids[at]}:{uids[end]}" if end > at else str(uids[at]))
        at = end + 1
    return ",".join(parts).encode()


def fetch_items(text: bytes) -> dict[str, bytes]:
    """The items of "(UID 1 FLAGS (\\Seen) BODY[] {3}CRLFabc)": strings without quotes, lists as they stand. Raises
    BrokenReply."""
    found: dict[str, bytes] = {}
    at = 1
    while text[at : at + 1] not in (b")", b""):
        match = _NAME.match(text, at)
        if match is None or text[match.end() : match.end() + 1] != b" ":
            raise BrokenReply(repr(text[at : at + 40]))
        value, at = value_at(text, match.end() + 1)
        found[match[0].decode("ascii").upper()] = value
        if text[at : at + 1] == b" ":
            at += 1
    return found


def value_at(text: bytes, at: int) -> tuple[bytes, int]:
    """One value, and where it ends. NIL is empty."""
    first = text[at : at + 1]
    if first == b'"':
        match = re.compile(rb'"((?:[^"\\]|\\.)*)"', re.DOTALL).match(text, at)
        if match is None:
            raise BrokenReply("a string without end")
        return re.sub(rb"\\(.)", rb"\1", match[1]), match.end()
    if first == b"{":
        match = re.compile(rb"\{([0-9]{1,10})\}\r\n").match(text, at)
        if match is None:
            raise BrokenReply("a literal")
        end = match.end() + int(match[1])
        return text[match.end() : end], end
    if first == b"(":
        end = at + 1
        while text[end : end + 1] != b")":
            if end >= len(text):
                raise BrokenReply("a list without end")
            end = end + 1 if text[end : end + 1] == b" " else value_at(text, end)[1]
        return text[at : end + 1], end + 1
    match = re.compile(rb"[^ ()\r\n]+").match(text, at)
    if match is None:
        raise BrokenReply(repr(text[at : at + 40]))
    return b"" if match[0] == b"NIL" else match[0], match.end()


def _refusal(text: str) -> Refused:
    code = ""
    if text.startswith("["):
        code, _, text = text[1:].partition("] ")
    return Refused(code.partition(" ")[0], text)
