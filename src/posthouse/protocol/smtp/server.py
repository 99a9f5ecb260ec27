"""The server's side of SMTP and LMTP as a machine: octets in, events out, replies in, octets out.

    core.receive_data(data)
    while (event := core.next_event()) is not None:
        transport.write(core.reply(answer to event))

`next_event` gives nothing until the last event is answered, so replies keep the order of a pipeline (RFC 2920). Nothing
here sleeps, logs or looks anything up. What is unread is bounded by whoever calls `receive_data`: `unread` says how
much that is, and no command is longer than its limit.
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

from posthouse.core.reply import PermFail, Reply
from posthouse.protocol.sasl import lines as sasl
from posthouse.protocol.smtp import replies
from posthouse.protocol.smtp.commands import PARSERS, Conversation
from posthouse.protocol.smtp.content import ContentReader
from posthouse.protocol.smtp.events import AuthResponse, Chunk, ContentPiece, EndOfContent, Event, Refusal, Unknown
from posthouse.protocol.smtp.options import Options
from posthouse.protocol.smtp.states import AFTER_ACCEPT, AFTER_CHALLENGE, AFTER_REFUSAL, State, Verb, refusal_in

_COMMON: Final[Mapping[bytes, Verb]] = {
    verb.value.encode(): verb
    for verb in Verb
    if verb not in (Verb.CONNECT, Verb.CONTENT, Verb.RESPONSE, Verb.UNKNOWN, Verb.HELO, Verb.EHLO, Verb.LHLO)
}
_SMTP_VERBS: Final = {**_COMMON, b"HELO": Verb.HELO, b"EHLO": Verb.EHLO}
# RFC 2033 s4.1: LHLO takes the place of HELO and EHLO.
_LMTP_VERBS: Final = {**_COMMON, b"LHLO": Verb.LHLO}

_CONTROL: Final = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_WORD: Final = re.compile(rb"[ \t]*([^ \t]*)[ \t]*")
_LOGGED_OCTETS: Final = 100
_CLOSING: Final = frozenset({421, 521})


class SmtpServer(Conversation):
    """One connection. `normalizes` is for clients that smtpd_forbid_bare_newline leaves alone: their stray CR and LF
    become spaces and line ends instead of refusals."""

    __slots__ = (
        "_at",
        "_buffer",
        "_chunk_error",
        "_chunk_last",
        "_chunk_left",
        "_chunk_size",
        "_content",
        "_is_skipping",
        "_verbs",
        "normalizes",
        "state",
    )

    def __init__(self, options: Options, *, normalizes: bool = False) -> None:
        super().__init__(options)
        self._verbs = _LMTP_VERBS if options.is_lmtp else _SMTP_VERBS
        self.normalizes = normalizes
        self.state = State.CONNECTING
        self._buffer = b""
        self._at = 0
        self._is_skipping = False
        self._content: ContentReader | None = None
        self._chunk_left = -1
        self._chunk_size = 0
        self._chunk_last = False
        self._chunk_error: Reply | None = None

    # ── octets ──

    def receive_data(self, data: bytes) -> None:
        self._buffer = self._buffer[self._at :] + data if self._at < len(self._buffer) else data
        self._at = 0

    @property
    def unread(self) -> int:
        return len(self._buffer) - self._at

    @property
    def is_starved(self) -> bool:
        """Without more octets there is no next event."""
        return self._at >= len(self._buffer) and self._chunk_left != 0

    def peek(self, octets: int) -> bytes:
        """What the client sent ahead, for the log."""
        return self._buffer[self._at : self._at + octets]

    @property
    def bare_line_end(self) -> Reply:
        return self.options.bare_line_end

    @property
    def is_waiting_for_client(self) -> bool:
        """Nothing to answer: whatever happens next begins with octets from the client."""
        return self.answering is None

    @property
    def is_receiving(self) -> bool:
        """A complete message is to be answered."""
        return self.answering is Verb.CONTENT

    def tls_started(self) -> None:
        self.is_secure = True

    def next_event(self) -> Event | None:
        if self.answering is not None or self.state is State.CLOSED:
            return None
        if self._chunk_left >= 0:
            return self._next_of_chunk()
        if self.state is State.DATA:
            return self._next_of_data()
        end = self._buffer.find(b"\n", self._at)
        if end < 0:
            self._bound_line()
            return None
        line = self._buffer[self._at : end]
        self._at = end + 1
        if self._is_skipping:
            self._is_skipping = False
            return self._refused(Verb.UNKNOWN, replies.LINE_TOO_LONG)
        is_bare = not line.endswith(b"\r")
        if not is_bare:
            line = line[:-1]
        # Too long comes first: a line that came in pieces was thrown away before anybody saw how it ends.
        if len(line) > self.options.command_limit and len(line) > self._line_limit(line):
            return self._refused(Verb.UNKNOWN, replies.LINE_TOO_LONG, line)
        if is_bare and not self.normalizes:
            return self._refused(Verb.UNKNOWN, self.options.bare_line_end, line)
        return self._response(line) if self.state is State.SASL else self._command(line)

    def reply(self, reply: Reply, wire: bytes | None = None) -> bytes:
        """The answer to the last event (or to the connection itself); moves the machine. `wire` is the reply as octets,
        if they are at hand."""
        verb = self.answering
        self.answering = None
        code = reply.code
        if code in _CLOSING:
            self._close()
        elif verb is not None:
            self._moved(verb, code)
        return wire or reply.encode()

    def _moved(self, verb: Verb, code: int) -> None:
        key = (self.state, verb)
        if code == 334:
            self.state = AFTER_CHALLENGE.get(key, self.state)
            return
        if code >= 400:
            self.state = AFTER_REFUSAL.get(key, self.state)
            if verb is Verb.CONTENT:
                self._end_transaction()
            elif verb in (Verb.HELO, Verb.EHLO, Verb.LHLO):
                self.hello = ""
                self.is_extended = False
            return
        if verb is Verb.UNKNOWN:
            if code == 221:
                self._close()
            return
        self.state = AFTER_ACCEPT[key]
        effect = _EFFECTS.get(verb)
        if effect is not None:
            effect(self)

    def _accept_recipient(self) -> None:
        self.accepted += 1

    def _expect_content(self) -> None:
        self._content = ContentReader(self.options.size_limit, self._bare_refusal(), is_dotted=True)

    def _authenticate(self) -> None:
        self.is_authenticated = True

    def _forget_everything(self) -> None:
        """RFC 3207 s4.2: what came in clear text, commands sent ahead included, was never said."""
        self._buffer = b""
        self._at = 0
        self.hello = ""
        self.is_extended = False
        self.is_authenticated = False
        self._end_transaction()

    def _end_transaction(self) -> None:
        self.accepted = 0
        self.smtputf8 = False
        self._content = None
        self._chunk_error = None

    def _close(self) -> None:
        self.state = State.CLOSED
        self._buffer = b""
        self._at = 0
        self._content = None

    # ── lines ──

    def _bound_line(self) -> None:
        """No line end yet: keep no more of a line than may be right."""
        if self._is_skipping:
            self._buffer, self._at = b"", 0
        elif self.unread > self.options.command_limit + 2 and self.unread > self._line_limit(self.peek(5)) + 2:
            self._is_skipping = True
            self._buffer, self._at = b"", 0

    def _line_limit(self, line: bytes) -> int:
        # RFC 4954 s4: AUTH lines may have 12288 octets.
        if self.state is State.SASL or line[:5].upper() == b"AUTH ":
            return max(self.options.auth_line_limit, self.options.command_limit)
        return self.options.command_limit

    def _refused(self, verb: Verb, reply: Reply, line: bytes = b"") -> Event:
        self.answering = verb
        return Refusal(verb, reply, line[:_LOGGED_OCTETS].decode("utf-8", "replace"))

    def _bare_refusal(self) -> Reply | None:
        return None if self.normalizes else self.options.bare_line_end

    def _response(self, line: bytes) -> Event:
        self.answering = Verb.RESPONSE
        if len(line) > self.options.auth_line_limit:
            return Refusal(Verb.RESPONSE, replies.AUTH_RESPONSE_TOO_LONG)
        try:
            return AuthResponse(sasl.decode_response(line))
        except sasl.BadBase64:
            return Refusal(Verb.RESPONSE, replies.AUTH_BAD_BASE64)

    def _command(self, line: bytes) -> Event | None:
        if _CONTROL.search(line):
            return self._refused(Verb.UNKNOWN, replies.BAD_SYNTAX, line)
        verb = self._verbs.get(line[:4])
        if verb is not None and line[4:5] in (b" ", b""):
            word, rest = line[:4], line[5:]
        else:
            match = _WORD.match(line)
            assert match is not None  # it matches nothing at all, too
            word, rest = match[1], line[match.end() :]
            verb = self._verbs.get(word.upper())
        try:
            argument = rest.decode() if rest else ""
        except UnicodeDecodeError:
            # RFC 6531 s3.7.1
            return self._refused(verb or Verb.UNKNOWN, replies.BAD_UTF8, line)
        if verb is None:
            if not word:
                return self._refused(Verb.UNKNOWN, replies.BAD_SYNTAX)
            try:
                name = word.decode()
            except UnicodeDecodeError:
                return self._refused(Verb.UNKNOWN, replies.BAD_UTF8, line)
            self.answering = Verb.UNKNOWN
            return Unknown(name[:_LOGGED_OCTETS], line[:_LOGGED_OCTETS].decode("utf-8", "replace"))
        if verb is Verb.BDAT:
            return self._bdat(argument.strip(), line)
        if (refusal := refusal_in(self.state, verb)) is not None:
            return self._refused(verb, refusal, line)
        self.answering = verb
        try:
            return PARSERS[verb](self, argument.strip())
        except PermFail as error:
            return Refusal(verb, error.reply, line[:_LOGGED_OCTETS].decode("utf-8", "replace"))

    # ── content ──

    def _next_of_data(self) -> Event | None:
        content = self._content
        assert content is not None
        data = self._buffer[self._at :] if self._at else self._buffer
        if not data:
            return None
        end = content.feed(data)
        if end < 0:
            self._buffer, self._at = b"", 0
            return self._piece(content)
        self._buffer, self._at = data, end
        self.answering = Verb.CONTENT
        return EndOfContent(Verb.DATA, content.take(), content.size, content.refusal)

    def _piece(self, content: ContentReader) -> Event | None:
        return ContentPiece(content.take()) if content.waiting > self.options.inline_limit else None

    def _bdat(self, argument: str, line: bytes) -> Event | None:
        """RFC 3030 s2: the octets come in any case; even where the command is refused they have to go by."""
        options = self.options
        words = argument.split()
        if not options.offers_chunking:
            return self._refused(Verb.BDAT, replies.NO_CHUNKING, line)
        is_count = 1 <= len(words) <= 2 and words[0].isascii() and words[0].isdecimal() and len(words[0]) <= 18
        if not is_count or (len(words) == 2 and words[1].upper() != "LAST"):
            return self._refused(Verb.BDAT, replies.BDAT_SYNTAX, line)
        self._chunk_size = self._chunk_left = int(words[0])
        self._chunk_last = len(words) == 2
        self._chunk_error = refusal_in(self.state, Verb.BDAT)
        if self._chunk_error is None:
            content = self._content
            if content is None:
                content = self._content = ContentReader(options.size_limit, self._bare_refusal(), is_dotted=False)
            elif content.refusal is not None:
                self._chunk_error = Reply.of(551, "5.0.0", f"Discarded {self._chunk_size} bytes after earlier error")
            if options.size_limit and content.size + self._chunk_size > options.size_limit:
                content.refuse(replies.CHUNK_TOO_LARGE)
        return self._next_of_chunk()

    def _next_of_chunk(self) -> Event | None:
        data = self._buffer[self._at : self._at + self._chunk_left]
        self._at += len(data)
        self._chunk_left -= len(data)
        error = self._chunk_error
        content = self._content
        if error is None:
            assert content is not None
            content.feed_chunk(data)
            if content.waiting > self.options.inline_limit:
                return ContentPiece(content.take())
        if self._chunk_left:
            return None
        self._chunk_left = -1
        self._chunk_error = None
        if content is None or self.state not in (State.RCPT, State.CHUNKS):
            assert error is not None
            return self._refused(Verb.BDAT, error)
        if self._chunk_last:
            content.finish_chunks()
            self.answering = Verb.CONTENT
            refusal = error or content.refusal
            return EndOfContent(Verb.BDAT, content.take(), content.size, refusal, self._chunk_size)
        if (refusal := error or content.refusal) is not None:
            return self._refused(Verb.BDAT, refusal)
        self.answering = Verb.BDAT
        return Chunk(self._chunk_size)


_EFFECTS: Final[Mapping[Verb, Callable[[SmtpServer], None]]] = {
    # What an accepted verb changes besides the state.
    Verb.RCPT: SmtpServer._accept_recipient,
    Verb.DATA: SmtpServer._expect_content,
    Verb.CONTENT: SmtpServer._end_transaction,
    Verb.RSET: SmtpServer._end_transaction,
    Verb.HELO: SmtpServer._end_transaction,
    Verb.EHLO: SmtpServer._end_transaction,
    Verb.LHLO: SmtpServer._end_transaction,
    Verb.AUTH: SmtpServer._authenticate,
    Verb.RESPONSE: SmtpServer._authenticate,
    Verb.STARTTLS: SmtpServer._forget_everything,
    Verb.QUIT: SmtpServer._close,
}
