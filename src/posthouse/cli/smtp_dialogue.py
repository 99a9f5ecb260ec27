"""`sendmail -bs`: SMTP on standard input and output, ending in the maildrop (RFC 5321).

A program that speaks SMTP to a pipe is the caller's own program: there is nothing to restrict here, and what is
accepted is exactly what `sendmail` itself would take. Every message that was answered 250 is safe.
"""

import re
import socket
from typing import BinaryIO, Final

from posthouse.cli.sendmail import EX_DATAERR, Options, Refused, caller, hand_over, queue_directory
from posthouse.queue.maildrop import Drop

MAX_LINE: Final = 4096
MAX_RECIPIENTS: Final = 10_000
_PATH: Final = re.compile(r"(?:FROM|TO)\s*:\s*(<[^>]*>|\S+)(.*)\Z", re.IGNORECASE | re.DOTALL)


class _Session:
    def __init__(self, options: Options, source: BinaryIO, target: BinaryIO) -> None:
        self._options = options
        self._source = source
        self._target = target
        self._host = socket.gethostname() or "localhost"
        self._sender: str | None = None
        self._recipients: list[str] = []
        self._drop = Drop("")
        self._ends_crlf = True
        """How the program ends its lines: a line that ends otherwise in its message is content (CVE-2023-51764)."""

    def say(self, code: int, *lines: str) -> None:
        for number, line in enumerate(lines):
            mark = " " if number == len(lines) - 1 else "-"
            self._target.write(f"{code}{mark}{line}\r\n".encode("utf-8", "surrogateescape"))
        self._target.flush()

    def run(self) -> int:
        self.say(220, f"{self._host} ESMTP")
        while True:
            raw = self._source.readline(MAX_LINE)
            if not raw:
                return 0
            if len(raw) >= MAX_LINE and not raw.endswith(b"\n"):
                self._skip_line()
                self.say(500, "5.5.2 Error: line too long")
                continue
            self._ends_crlf = raw.endswith(b"\r\n")
            verb, _, rest = raw.decode("utf-8", "surrogateescape").strip().partition(" ")
            if verb.upper() == "QUIT":
                self.say(221, "2.0.0 Bye")
                return 0
            self._command(verb.upper(), rest.strip())

    def _skip_line(self) -> None:
        while (piece := self._source.readline(MAX_LINE)) and not piece.endswith(b"\n"):
            pass

    def _reset(self) -> None:
        self._sender = None
        self._recipients = []
        self._drop = Drop("")

    def _command(self, verb: str, rest: str) -> None:
        match verb:
            case "EHLO":
                self._reset()
                self.say(250, self._host, "PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES", "DSN", "SMTPUTF8")
            case "HELO":
                self._reset()
                self.say(250, self._host)
            case "MAIL":
                self._mail(rest)
            case "RCPT":
                self._rcpt(rest)
            case "DATA":
                self._data()
            case "RSET":
                self._reset()
                self.say(250, "2.0.0 Ok")
            case "NOOP":
                self.say(250, "2.0.0 Ok")
            case "VRFY":
                self.say(252, f"2.0.0 {rest}")
            case _:
                self.say(502, "5.5.2 Error: command not recognized")

    def _mail(self, rest: str) -> None:
        match = _PATH.match(rest)
        if match is None or not rest.upper().startswith("FROM"):
            self.say(501, "5.5.4 Syntax: MAIL FROM:<address>")
        elif self._sender is not None:
            self.say(503, "5.5.1 Error: nested MAIL command")
        else:
            self._sender = match[1].strip("<>")
            for word in match[2].split():
                name, _, value = word.partition("=")
                if name.upper() == "RET" and value.upper() in ("FULL", "HDRS"):
                    self._drop.ret = value.upper()
                elif name.upper() == "ENVID":
                    self._drop.envid = value
                elif name.upper() == "SMTPUTF8":
                    self._drop.smtputf8 = True
            self.say(250, "2.1.0 Ok")

    def _rcpt(self, rest: str) -> None:
        match = _PATH.match(rest)
        address = match[1].strip("<>") if match is not None else ""
        if self._sender is None:
            self.say(503, "5.5.1 Error: need MAIL command")
        elif not address or not rest.upper().startswith("TO"):
            self.say(501, "5.5.4 Syntax: RCPT TO:<address>")
        elif len(self._recipients) >= MAX_RECIPIENTS:
            self.say(452, "4.5.3 Error: too many recipients")
        else:
            self._recipients.append(address)
            self.say(250, "2.1.5 Ok")

    def _data(self) -> None:
        if not self._recipients:
            self.say(503 if self._sender is None else 554, "5.5.1 Error: no valid recipients")
            return
        self.say(354, "End data with <CR><LF>.<CR><LF>")
        ending = b"\r\n" if self._ends_crlf else b"\n"
        lines: list[bytes] = []
        at_start = True
        while True:
            line = self._source.readline()
            if not line:
                return  # the other side is gone before the end: nothing was accepted
            if at_start and line == b"." + ending:
                break
            # RFC 5321 s4.5.2
            lines.append(line[1:] if at_start and line.startswith(b".") else line)
            at_start = line.endswith(ending)
        drop = self._drop
        drop.sender = caller() if self._sender is None else self._sender
        drop.recipients = self._recipients
        drop.content = b"".join(lines)
        try:
            hand_over(queue_directory(self._options), drop)
        except Refused as error:
            if error.status == EX_DATAERR:
                self.say(554, f"5.6.0 {error}")
            else:
                self.say(451, f"4.3.0 {error}")
        else:
            self.say(250, "2.0.0 Ok: queued")
        self._reset()


def converse(options: Options, source: BinaryIO, target: BinaryIO) -> int:
    return _Session(options, source, target).run()
