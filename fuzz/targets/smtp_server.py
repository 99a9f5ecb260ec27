"""Any octets, cut anywhere, to the SMTP and LMTP server's core.

What holds: packets make no difference; replies are lines of three digits; a refused command changes no state; messages
that arrive are clean; no more is kept than the longest line.
"""

from tests.protocol.smtp.talk import consent

from fuzz.target import Target
from posthouse.core.reply import Reply
from posthouse.protocol.smtp.client_reply import ReplyReader
from posthouse.protocol.smtp.events import ContentPiece, EndOfContent, Refusal
from posthouse.protocol.smtp.line_ends import is_clean
from posthouse.protocol.smtp.options import Options
from posthouse.protocol.smtp.server import SmtpServer
from posthouse.protocol.smtp.states import AFTER_REFUSAL, State

AUTH_LINE = 4096


class Dialogue:
    """Everything that is answered, and what came in."""

    def __init__(self, options: Options, *, normalizes: bool, refuses: int) -> None:
        self.core = SmtpServer(options, normalizes=normalizes)
        self.core.reply(Reply.of(220, "", "mail.example.test ESMTP"))
        self.heard: list[bytes] = []
        self.messages: list[bytes] = []
        self._pieces: list[bytes] = []
        self._refuses = refuses
        self._events = 0

    def send(self, data: bytes) -> None:
        core = self.core
        core.receive_data(data)
        while (event := core.next_event()) is not None:
            if isinstance(event, ContentPiece):
                assert event.data
                self._pieces.append(event.data)
                continue
            if isinstance(event, EndOfContent):
                if event.refusal is None:
                    message = b"".join(self._pieces) + event.data
                    assert len(message) == event.size
                    self.messages.append(message)
                self._pieces.clear()
            before, verb = core.state, core.answering
            self._events += 1
            answer = consent(event)
            if self._refuses and self._events % self._refuses == 0 and answer.code != 221:
                answer = Reply.of(450, "4.3.0", "not now")
            self._answered(core.reply(answer))
            if isinstance(event, Refusal) and core.state is not State.CLOSED and verb is not None:
                assert core.state is AFTER_REFUSAL.get((before, verb), before)
        assert core.is_waiting_for_client or core.state is State.CLOSED
        assert core.unread <= max(AUTH_LINE, core.options.command_limit) + 2

    def _answered(self, octets: bytes) -> None:
        reader = ReplyReader()
        reader.receive_data(octets)
        assert len(reader.replies) == 1
        assert not reader._lines
        assert octets.endswith(b"\r\n")
        assert is_clean(octets)
        self.heard.append(octets)


def check(data: bytes) -> None:
    if len(data) < 3:
        return
    choice, step, refuses = data[0], data[1] % 64 + 1, data[2] % 8
    octets = data[3:]
    options = Options(
        is_lmtp=bool(choice & 1),
        command_limit=512,
        auth_line_limit=AUTH_LINE,
        size_limit=2000 if choice & 2 else 0,
        recipient_limit=3,
        inline_limit=300,
        hello_required=bool(choice & 4),
        strict_paths=bool(choice & 8),
        requires_smtputf8=bool(choice & 16),
        offers_chunking=not choice & 32,
    )
    whole = Dialogue(options, normalizes=bool(choice & 64), refuses=refuses)
    pieces = Dialogue(options, normalizes=bool(choice & 64), refuses=refuses)
    whole.send(octets)
    for at in range(0, len(octets), step):
        pieces.send(octets[at : at + step])
    for dialogue in (whole, pieces):
        assert all(is_clean(message) for message in dialogue.messages)
    if b"STARTTLS" not in octets.upper():
        # What was sent ahead of TLS is forgotten, so there packets do make a difference.
        assert whole.heard == pieces.heard
        assert whole.messages == pieces.messages
        assert whole.core.state is pieces.core.state


_MESSAGE = b"MAIL FROM:<s@example.org> SIZE=9\r\nRCPT TO:<a@example.test>\r\nDATA\r\n"

TARGET = Target(
    check,
    seeds=(
        b"\0\0\0EHLO c.example\r\n" + _MESSAGE + b"Subject: x\r\n\r\n..dot\r\n.\r\nQUIT\r\n",
        b"\x01\x03\0LHLO c.example\r\n" + _MESSAGE + b"x\r\n.\r\nRSET\r\nNOOP x\r\nVRFY a\r\nHELP\r\n",
        b"\x02\x07\0EHLO c\r\nMAIL FROM:<> BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb\r\n"
        b"RCPT TO:<@h,@i:\"q\\\"x\"@[192.0.2.1]> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+40b\r\n"
        b"BDAT 5\r\nabc\r\nBDAT 3 LAST\r\nxyz",
        b"\x40\x10\0EHLO c\r\n" + _MESSAGE + b"a\nb\rc\n.\nd\r\n.\r\n",
        b"\x04\x20\x03AUTH PLAIN AGEAYg==\r\nEHLO c\r\nAUTH LOGIN\r\nYQ==\r\n*\r\nSTARTTLS\r\nEHLO c\r\nETRN #x\r\n",
        b"\x18\x05\0HELO c\r\nMAIL FROM:<\xc3\xa4@\xc3\xb6.example> SMTPUTF8\r\nRCPT TO:<Postmaster>\r\nGET / HTTP/1.1\r\n",
    ),
    words=(
        b"EHLO c.example", b"HELO c", b"LHLO c", b"MAIL FROM:<s@example.org>", b"MAIL FROM:<>", b" BODY=8BITMIME",
        b" SIZE=5", b" SMTPUTF8", b" RET=FULL", b" ENVID=x", b" AUTH=<>", b"RCPT TO:<a@example.test>",
        b" NOTIFY=NEVER", b" ORCPT=rfc822;x", b" ORCPT=utf-8;\\x{41}", b"DATA", b"BDAT 5", b"BDAT 5 LAST",
        b"BDAT 0 LAST", b"RSET", b"NOOP", b"VRFY a", b"ETRN x", b"HELP", b"QUIT", b"STARTTLS",
        b"AUTH PLAIN AGEAYg==", b"AUTH LOGIN", b"AUTH PLAIN =", b"*", b"YQ==", b".", b"..", b"\r\n.\r\n", b"\n.\n",
        b"\r.\r", b"\r\n", b"\r", b"\n", b"<", b">", b"@", b"[IPv6:::1]", b"\"a b\"", b"\\", b"\xc3\xa4", b"\xff",
        b"\0", b"xn--",
    ),
)  # fmt: skip
