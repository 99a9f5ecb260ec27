"""What is known about a client and its transaction when restrictions are evaluated.

Restrictions ask no one. What they need from another process they find in `Facts`, or they raise `Unanswered` with the
question; whoever evaluates them gets the answer, puts it in and evaluates again from the beginning.
"""

import enum
from dataclasses import dataclass, field
from typing import Final

from posthouse.core.address import Address
from posthouse.core.reply import MailError, Reply
from posthouse.runtime.schema import Record, Request, Resolution, Resolve

TEMPORARY_LOOKUP_FAILURE: Final = "Temporary lookup failure"


class Unanswered(Exception):
    """This question must be answered first."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self.request = request


class Undecided(Exception):
    """A table or a server did not answer: `reply` (4xx) is what the client is told."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply)
        self.reply = reply


class Subject(enum.Enum):
    """What a restriction list is about; the value is Postfix's word for it in replies."""

    CLIENT = "Client host"
    HELO = "Helo command"
    SENDER = "Sender address"
    RECIPIENT = "Recipient address"
    DATA = "Data command"
    END_OF_DATA = "End-of-data"
    ETRN = "Etrn command"


@dataclass(slots=True)
class Facts:
    """One session's; the fields of the transaction change with it. `client_name` is "unknown" if the address has no
    name that leads back to it; `reverse_name` the name it claims."""

    client_name: str
    client_address: str
    reverse_name: str = "unknown"
    is_in_mynetworks: bool = False
    is_own_address: bool = False
    helo: str = ""
    sasl_username: str = ""
    is_encrypted: bool = False
    is_sent_ahead: bool = False
    """The client sent more where it had to wait for a reply (RFC 2920 s3.1)."""
    sender: Address | None = None
    recipient: Address | None = None
    recipient_count: int = 0
    etrn_domain: str = ""
    resolution: Resolution | None = None
    """Of `recipient`, where it is at hand already."""
    answers: dict[Request, Record | MailError] = field(default_factory=dict)

    @property
    def client(self) -> str:
        return f"{self.client_name}[{self.client_address}]"

    @property
    def sender_text(self) -> str:
        return "" if self.sender is None else str(self.sender)

    def destination(self) -> Resolution:
        """Where the recipient would go. Raises Unanswered, Undecided."""
        if self.resolution is not None:
            return self.resolution
        assert self.recipient is not None
        return self._resolved(Resolve(self.recipient, for_delivery=True))

    def origin(self) -> Resolution:
        """Where mail to the sender would go."""
        assert self.sender is not None
        return self._resolved(Resolve(self.sender))

    def _resolved(self, request: Resolve) -> Resolution:
        answer = self.answers.get(request)
        if answer is None:
            raise Unanswered(request)
        if isinstance(answer, Resolution):
            return answer
        raise Undecided(Reply.of(451, "4.3.0", f"<{request.recipient}>: {TEMPORARY_LOOKUP_FAILURE}"))

    def name_of(self, subject: Subject) -> str:
        """What stands in angle brackets at the beginning of a refusal."""
        match subject:
            case Subject.CLIENT:
                return self.client
            case Subject.HELO:
                return self.helo
            case Subject.SENDER:
                return self.sender_text
            case Subject.RECIPIENT:
                return str(self.recipient)
            case Subject.DATA:
                return "DATA"
            case Subject.END_OF_DATA:
                return "END-OF-MESSAGE"
            case Subject.ETRN:
                return self.etrn_domain
