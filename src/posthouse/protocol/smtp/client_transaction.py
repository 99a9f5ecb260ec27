"""One message for some recipients of one server: what is said in MAIL and RCPT, and what became of each recipient."""

import enum
from collections.abc import Sequence
from typing import Final

import msgspec

from posthouse.protocol.smtp.client_features import Features
from posthouse.protocol.smtp.client_reply import ServerReply


class Stage(enum.Enum):
    """What we wait for. The value is the command as it is named to people ("in reply to … command"); `doing` is for
    conversations that break there."""

    GREETING = "initial server greeting"
    EHLO = "EHLO"
    HELO = "HELO"
    LHLO = "LHLO"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    MAIL = "MAIL FROM"
    RCPT = "RCPT TO"
    DATA = "DATA"
    CONTENT = "message body"
    END_OF_DATA = "end of DATA"
    RSET = "RSET"
    QUIT = "QUIT"

    @property
    def doing(self) -> str:
        return _DOING[self]


_DOING: Final = {
    Stage.GREETING: "receiving the initial server greeting",
    Stage.EHLO: "performing the EHLO handshake",
    Stage.HELO: "performing the HELO handshake",
    Stage.LHLO: "performing the LHLO handshake",
    Stage.STARTTLS: "performing the STARTTLS handshake",
    Stage.AUTH: "performing SASL authentication",
    Stage.MAIL: "sending MAIL FROM",
    Stage.RCPT: "sending RCPT TO",
    Stage.DATA: "sending DATA command",
    Stage.CONTENT: "sending message body",
    Stage.END_OF_DATA: "sending end of data -- message may be sent more than once",
    Stage.RSET: "sending RSET",
    Stage.QUIT: "sending QUIT command",
}


class Outcome(msgspec.Struct, frozen=True):
    """The server's word on one recipient: a positive `reply` is its acceptance of the message."""

    reply: ServerReply
    stage: Stage


class RecipientCommand(msgspec.Struct, frozen=True):
    """`path` is the address in external form, without angle brackets; `notify` and `original` are for DSN."""

    path: str
    notify: tuple[str, ...] = ()
    original: str = ""


def xtext(text: str) -> str:
    """RFC 3461 s4: printable ASCII but "+" and "=" as it is, everything else as +XX."""
    return "".join(
        character if "!" <= character <= "~" and character not in "+=" else f"+{ord(character):02X}"
        for character in text
    )


def original_recipient(address: str) -> str:
    """The value of ORCPT: rfc822 for ASCII, else utf-8 (RFC 6533 s3, utf-8-addr-xtext)."""
    if address.isascii():
        return f"rfc822;{xtext(address)}"
    escaped = "".join(
        character if "!" <= character <= "~" and character not in "+=\\" else f"\\x{{{ord(character):X}}}"
        for character in address
    )
    return f"utf-8;{escaped}"


class Transaction:
    """`outcomes` has one entry for each recipient, in order; None until the server has decided. The caller keeps the
    content. Parameters of extensions that the server does not offer are left out; what that means is the caller's."""

    __slots__ = (
        "accepted",
        "body",
        "context",
        "envid",
        "mail_accepted",
        "outcomes",
        "recipients",
        "ret",
        "sender",
        "size",
        "smtputf8",
    )

    def __init__(
        self,
        sender: str,
        recipients: Sequence[RecipientCommand],
        *,
        size: int = 0,
        body: str = "",
        smtputf8: bool = False,
        ret: str = "",
        envid: str = "",
        context: object = None,
    ) -> None:
        self.sender = sender
        self.recipients = recipients
        self.size = size
        self.body = body
        self.smtputf8 = smtputf8
        self.ret = ret
        self.envid = envid
        self.context = context
        """The caller's own."""
        self.outcomes: list[Outcome | None] = [None] * len(recipients)
        self.accepted: list[int] = []
        self.mail_accepted = False

    def mail_command(self, features: Features) -> str:
        command = f"MAIL FROM:<{self.sender}>"
        if features.has_size and self.size:
            command += f" SIZE={self.size}"
        if features.eight_bit and self.body == "8BITMIME":
            command += " BODY=8BITMIME"
        if features.smtputf8 and self.smtputf8:
            command += " SMTPUTF8"
        if features.dsn:
            if self.ret:
                command += f" RET={self.ret}"
            if self.envid:
                command += f" ENVID={xtext(self.envid)}"
        return command + "\r\n"

    def rcpt_command(self, index: int, features: Features) -> str:
        recipient = self.recipients[index]
        if not features.dsn or not (recipient.notify or recipient.original):
            return f"RCPT TO:<{recipient.path}>\r\n"
        command = f"RCPT TO:<{recipient.path}>"
        if recipient.notify:
            command += f" NOTIFY={','.join(recipient.notify)}"
        if recipient.original:
            command += f" ORCPT={original_recipient(recipient.original)}"
        return command + "\r\n"

    def fail_rest(self, outcome: Outcome) -> None:
        self.outcomes = [one or outcome for one in self.outcomes]

    @property
    def undecided(self) -> list[int]:
        return [index for index, outcome in enumerate(self.outcomes) if outcome is None]
