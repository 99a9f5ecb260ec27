"""What the SMTP and LMTP clients log, in Postfix's words."""

from typing import ClassVar

from posthouse.core.delivery_line import DeliveryLine
from posthouse.core.logline import LogLine


class SmtpDelivery(DeliveryLine, frozen=True):
    program: ClassVar[str] = "smtp"
    doc = "One attempt to deliver to one recipient over SMTP, and how it ended."


class LmtpDelivery(DeliveryLine, frozen=True):
    program: ClassVar[str] = "lmtp"
    doc = "One attempt to deliver to one recipient over LMTP, and how it ended."


class SmtpNote(LogLine, frozen=True):
    program: ClassVar[str] = "smtp"
    doc = "What went wrong with one server while another may still take the mail; connections and TLS."

    words: str

    def text(self) -> str:
        return self.words


class LmtpNote(SmtpNote, frozen=True):
    program: ClassVar[str] = "lmtp"
