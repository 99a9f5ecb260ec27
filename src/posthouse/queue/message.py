"""A queued message as the journal and the index keep it: the fold of its records so far.

Everything here is durable state. What a running delivery needs besides (jobs, content in memory) is in `active`.
"""

import enum
from typing import Final

import msgspec

from posthouse.core.address import Address
from posthouse.core.envelope import Arrival
from posthouse.core.identifiers import QueueId


class Area(enum.IntEnum):
    """Which family of segment files holds a message's content."""

    JOURNAL = 0
    DEFERRED = 1


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where the content octets are: a segment and the offset in it. Unused when the message has a file of its own."""

    area: int
    number: int
    offset: int


NOWHERE: Final = Place(Area.JOURNAL, 0, 0)


class QueuedRecipient(msgspec.Struct, array_like=True):
    """One recipient that is not done. Its number within the message is the key of `Message.recipients`.

    `original`, `notify`: as in core.envelope. `mailbox`: what a local alias names ("|command", "/file", ":include:"),
    else "". `owner`: sender in place of the message's (owner- alias). `alias` and `level`: the local alias this
    recipient came from and how many came before it. `dsn`, `reason`, `remote_mta`, `remote_reply`: the last deferral.
    """

    address: Address
    original: str = ""
    notify: tuple[str, ...] = ()
    action: int = 0
    mailbox: str = ""
    owner: Address | None = None
    alias: str = ""
    level: int = 0
    dsn: str = ""
    reason: str = ""
    remote_mta: str = ""
    remote_reply: str = ""


class Message(msgspec.Struct, array_like=True):
    """`due` is when the next attempt may start (0: never attempted); `lsn` the last record that was applied;
    `large` the name of the message's own file, or ""; `source` the maildrop file it came from."""

    queue_id: QueueId
    sender: Address | None
    recipients: dict[int, QueuedRecipient]
    next_index: int
    arrival: Arrival
    entered_s: float
    size: int
    body: str = ""
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""
    large: str = ""
    source: str = ""
    hold: bool = False
    due: float = 0.0
    warned: bool = False
    lsn: int = 0
    place: Place = NOWHERE

    @property
    def queue_name(self) -> str:
        """The directory Postfix would show it in while nobody is working on it."""
        return "hold" if self.hold else "deferred" if self.due else "incoming"
