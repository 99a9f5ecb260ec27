"""smtpd's log lines in Postfix's format: log analysers and ban tools read them. Addresses appear as name[address]."""

from typing import ClassVar

from posthouse.core.logline import Level, LogLine


class SmtpdLine(LogLine, frozen=True):
    program: ClassVar[str] = "smtpd"


class Connected(SmtpdLine, frozen=True):
    doc = "A client connected."

    client: str

    def text(self) -> str:
        return f"connect from {self.client}"


class Disconnected(SmtpdLine, frozen=True):
    """`commands` is "ehlo=1 mail=1 rcpt=0/1 quit=1 commands=3/4": accepted, or accepted/all where some were not."""

    doc = "A session is over; which commands there were."

    client: str
    commands: str

    def text(self) -> str:
        return f"disconnect from {self.client}{self.commands}"


class Ended(SmtpdLine, frozen=True):
    """`how`: "lost connection", "timeout", "too many errors"; `after` the last command."""

    doc = "A session ended before QUIT."

    how: str
    after: str
    client: str

    def text(self) -> str:
        return f"{self.how} after {self.after} from {self.client}"


class ClientOf(SmtpdLine, frozen=True):
    doc = "The message with this queue id comes from this client (and user)."

    queue_id: str
    client: str
    sasl_method: str = ""
    sasl_username: str = ""

    def text(self) -> str:
        words = f"{self.queue_id}: client={self.client}"
        if self.sasl_method:
            words += f", sasl_method={self.sasl_method}"
        if self.sasl_username:
            words += f", sasl_username={self.sasl_username}"
        return words


class Rejected(SmtpdLine, frozen=True):
    """`queue_id` "NOQUEUE" before a recipient was accepted; `after` the command; `reply` what the client was told."""

    doc = "A command or a message was refused."

    queue_id: str
    after: str
    client: str
    reply: str
    sender: str | None
    recipient: str | None
    protocol: str
    helo: str

    def text(self) -> str:
        facts = ""
        if self.sender is not None:
            facts += f" from=<{self.sender}>"
        if self.recipient is not None:
            facts += f" to=<{self.recipient}>"
        facts += f" proto={self.protocol}"
        if self.helo:
            facts += f" helo=<{self.helo}>"
        return f"{self.queue_id}: reject: {self.after} from {self.client}: {self.reply};{facts}"


class Pipelined(SmtpdLine, frozen=True):
    doc = "A client sent more where it had to wait for the reply (RFC 2920 s3.1)."

    after: str
    client: str
    ahead: str

    def text(self) -> str:
        return f"improper command pipelining after {self.after} from {self.client}: {self.ahead}"


class ProtocolError(SmtpdLine, frozen=True):
    doc = "A client sent what is no command, or one out of sequence; what it was told. Its fault, so no warning."

    after: str
    client: str
    reply: str
    line: str

    def text(self) -> str:
        reply = self.reply.replace("Error: ", "", 1)
        return f"protocol error after {self.after} from {self.client}: {reply}: {self.line}"


class TlsEstablished(SmtpdLine, frozen=True):
    doc = "A TLS session began; its version and cipher (smtpd_tls_loglevel)."

    client: str
    what: str

    def text(self) -> str:
        return f"Anonymous TLS connection established from {self.client}: {self.what}"


class TlsFailed(SmtpdLine, frozen=True):
    doc = "A TLS handshake failed."

    client: str
    why: str

    def text(self) -> str:
        return f"SSL_accept error from {self.client}: {self.why}"


class AuthRefused(SmtpdLine, frozen=True):
    level: ClassVar[Level] = Level.WARNING
    doc = "A login failed. fail2ban's postfix filter reads this line."

    client: str
    method: str
    why: str
    username: str

    def text(self) -> str:
        username = self.username or "(unavailable)"
        return f"warning: {self.client}: SASL {self.method} authentication failed: {self.why}, sasl_username={username}"


class SmtpdWarning(SmtpdLine, frozen=True):
    level: ClassVar[Level] = Level.WARNING
    doc = "Something an administrator may want to know: limits exceeded, commands of browsers, names that do not fit."

    words: str

    def text(self) -> str:
        return f"warning: {self.words}"
