"""The content of one message as it comes in: where it ends, without dots, under its limits.

Only CRLF "." CRLF ends DATA (RFC 5321 s4.1.1.4), whatever stands before or behind a CR or LF of its own. What is read
is worked on piece by piece with octet methods; a piece never ends inside CRLF, before a stuffed dot or within what may
become the end, so each piece can be cleaned by itself. Nothing is kept of a message that is refused already.
"""

from typing import Final

from posthouse.core.reply import Reply
from posthouse.protocol.smtp.line_ends import is_clean
from posthouse.protocol.smtp.replies import CONTENT_TOO_LARGE

END: Final = b"\r\n.\r\n"
_STARTS_OF_END: Final = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")
_MAXIMAL_PIECES: Final = 256
"""A client that sends octet by octet must not cost an object for each."""


class ContentReader:
    """`size_limit` 0 means none. `bare_refusal` is what a stray CR or LF is answered with; None makes lines of them.
    `refusal` is set as soon as the message cannot be accepted any more."""

    __slots__ = (
        "_bare_refusal",
        "_is_dotted",
        "_is_first",
        "_kept",
        "_pieces",
        "_size_limit",
        "last_octets",
        "refusal",
        "size",
        "waiting",
    )

    def __init__(self, size_limit: int, bare_refusal: Reply | None, *, is_dotted: bool) -> None:
        self._size_limit = size_limit
        self._bare_refusal = bare_refusal
        self._is_dotted = is_dotted
        # DATA begins at the start of a line: ".CRLF" may be the first thing.
        self._kept = b"\r\n" if is_dotted else b""
        self._is_first = is_dotted
        self._pieces: list[bytes] = []
        self.size = 0
        """Octets of the clean content so far (RFC 1870 s3: dots of transparency do not count)."""
        self.waiting = 0
        """Octets that `take` would give."""
        self.last_octets = b""
        self.refusal: Reply | None = None

    def feed(self, data: bytes) -> int:
        """For DATA. The number of octets of `data` that belong to the message if it ended here, else -1."""
        kept = self._kept
        buffer = kept + data if kept else data
        at = buffer.find(END)
        if at >= 0:
            self._kept = b""
            self._add(buffer[: at + 2])
            return at + 5 - len(kept)
        cut = len(buffer)
        if buffer[-1:] in b"\r\n.":
            for start in _STARTS_OF_END:
                if buffer.endswith(start):
                    cut -= len(start)
                    break
            else:
                # A stray LF may be followed by a dot that is its line's first.
                cut -= buffer.endswith(b"\n")
        self._kept = buffer[cut:]
        if cut:
            self._add(buffer[:cut])
        return -1

    def feed_chunk(self, data: bytes) -> None:
        """For BDAT (RFC 3030): no dots, the count says where it ends."""
        buffer = self._kept + data if self._kept else data
        cut = len(buffer) - buffer.endswith(b"\r")
        self._kept = buffer[cut:]
        if cut:
            self._add(buffer[:cut])

    def finish_chunks(self) -> None:
        """After the last chunk: the last line ends as all others do."""
        if self._kept:
            self._add(self._kept)
            self._kept = b""
        if self.size and self.last_octets != b"\r\n" and self.refusal is None:
            self._store(b"\r\n")

    def refuse(self, refusal: Reply) -> None:
        if self.refusal is None:
            self.refusal = refusal
            self._pieces.clear()
            self.waiting = 0

    def take(self) -> bytes:
        """The clean content that was not taken yet."""
        pieces = self._pieces
        content = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self._pieces = []
        self.waiting = 0
        return content

    def _add(self, piece: bytes) -> None:
        if self.refusal is not None:
            return
        if not is_clean(piece):
            if self._bare_refusal is not None:
                self.refuse(self._bare_refusal)
                return
            piece = piece.replace(b"\r\n", b"\n").replace(b"\r", b" ").replace(b"\n", b"\r\n")
        if self._is_dotted:
            # RFC 5321 s4.5.2: a dot at the beginning of a line was put there by the sender.
            if b"\r\n." in piece:
                piece = piece.replace(b"\r\n.", b"\r\n")
            if self._is_first:
                self._is_first = False
                piece = piece[2:]
        if piece:
            self._store(piece)

    def _store(self, piece: bytes) -> None:
        self.size += len(piece)
        if self._size_limit and self.size > self._size_limit:
            self.refuse(CONTENT_TOO_LARGE)
            return
        self.last_octets = piece[-2:] if len(piece) > 1 else self.last_octets[-1:] + piece
        pieces = self._pieces
        pieces.append(piece)
        self.waiting += len(piece)
        if len(pieces) >= _MAXIMAL_PIECES:
            self._pieces = [b"".join(pieces)]
