"""The log lines of pickup, cleanup, qmgr, bounce and the inside agents (error, retry, discard), in Postfix's format."""

from typing import ClassVar

from posthouse.core.delivery_line import DeliveryLine
from posthouse.core.logline import Level, LogLine


class PickedUp(LogLine, frozen=True):
    program = "pickup"
    doc = "A message was taken from the maildrop; uid is the submitter."

    queue_id: str
    uid: int
    sender: str

    def text(self) -> str:
        return f"{self.queue_id}: uid={self.uid} from=<{self.sender}>"


class Cleaned(LogLine, frozen=True):
    program = "cleanup"
    doc = "A message is on stable storage; its Message-ID."

    queue_id: str
    message_id: str

    def text(self) -> str:
        return f"{self.queue_id}: message-id={self.message_id}"


class QueueActive(LogLine, frozen=True):
    program = "qmgr"
    doc = "Delivery of a message begins (again); size in octets and the number of recipients left."

    queue_id: str
    sender: str
    size: int
    recipients: int

    def text(self) -> str:
        return f"{self.queue_id}: from=<{self.sender}>, size={self.size}, nrcpt={self.recipients} (queue active)"


class Removed(LogLine, frozen=True):
    program = "qmgr"
    doc = "All recipients are done; the queue has forgotten the message."

    queue_id: str

    def text(self) -> str:
        return f"{self.queue_id}: removed"


class Expired(LogLine, frozen=True):
    program = "qmgr"
    doc = "The message was too old to try again; its sender is told."

    queue_id: str
    sender: str

    def text(self) -> str:
        return f"{self.queue_id}: from=<{self.sender}>, status=expired, returned to sender"


class Notified(LogLine, frozen=True):
    """`kind`: "sender non-delivery notification", "sender delay notification",
    "sender delivery status notification", "postmaster non-delivery notification", "postmaster delay notification"."""

    program = "bounce"
    doc = "A notification about the first queue id was queued as the second."

    queue_id: str
    kind: str
    notice_id: str

    def text(self) -> str:
        return f"{self.queue_id}: {self.kind}: {self.notice_id}"


class SuperAction(LogLine, frozen=True):
    program = "postsuper"
    doc = "An administrator removed, held, released or requeued a message."

    queue_id: str
    what: str

    def text(self) -> str:
        return f"{self.queue_id}: {self.what}"


class ErrorAttempt(DeliveryLine, frozen=True):
    program: ClassVar[str] = "error"
    doc = "A delivery that ended inside the queue: no such user, no such transport, a destination that is down."


class DiscardAttempt(DeliveryLine, frozen=True):
    program: ClassVar[str] = "discard"
    doc = "The transport discard: accepted and thrown away, as configured."


class LocalAttempt(DeliveryLine, frozen=True):
    program: ClassVar[str] = "local"
    doc = "A local alias that cannot be followed."


class QueueWarning(LogLine, frozen=True):
    program = "qmgr"
    level = Level.WARNING
    doc = "Something about a message that an administrator may want to know."

    queue_id: str
    words: str

    def text(self) -> str:
        return f"warning: {self.queue_id}: {self.words}"
