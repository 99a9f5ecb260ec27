"""Every record that processes exchange, and which process may say which.

An `Endpoint` is one kind of conversation: who listens, who connects, which requests each side may make. Each request
class names its reply. Frames are length-prefixed msgpack (see `runtime.ipc`); a peer that sends anything else is cut
off. Sockets are one per (server, client group), owned by the client's user, so that the file system decides who may
start which conversation.
"""

from dataclasses import dataclass
from typing import ClassVar, Final

import msgspec

from posthouse.core.address import Address
from posthouse.core.envelope import Arrival, Envelope
from posthouse.core.identifiers import DeliveryId, QueueId
from posthouse.core.reply import Reply
from posthouse.core.result import RecipientResult


class Record(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """Base of all records; the class name is the tag on the wire."""


class Note(Record, frozen=True):
    """A record without a reply."""


class Request(Record, frozen=True):
    """A record that is answered by exactly one reply, of a class in `replies`."""

    replies: ClassVar[tuple[type[Record], ...]] = ()


class Done(Record, frozen=True):
    """The plain yes."""


class Failure(Record, frozen=True):
    """Any request may be answered with this: the service could not do it. `reply` is what an SMTP client would be
    told (4xx: try again). The caller's future raises TempFail or PermFail."""

    reply: Reply


# ── queue: intake (smtpd, web and other receivers connect) ─────────────────────────────────────────────────────────


class Lease(Record, frozen=True):
    number: int


class LeaseQueueIds(Request, frozen=True):
    """A lease number for `QueueIdSource`; durable before it is answered, never repeated."""

    replies: ClassVar = (Lease,)


class ContentHandle(Record, frozen=True):
    handle: int


class OpenContent(Request, frozen=True):
    """Begin a large message: what follows is streamed into a file of its own in the spool."""

    replies: ClassVar = (ContentHandle,)


class AppendContent(Request, frozen=True):
    """The answer comes when the octets are written: at most a few in flight give back-pressure."""

    handle: int
    data: bytes
    replies: ClassVar = (Done,)


class AbortContent(Note, frozen=True):
    handle: int


class Submit(Request, frozen=True):
    """Take responsibility for a message. Done means: on stable storage.

    `content` has Received: and any missing header already in front; its line ends are CRLF and no CR or LF stands alone
    (a bare LF was refused or made CRLF before). Exactly one of `content` and `handle` is used; `queue_id` is from the
    connection's lease. Content keeps this form through journal and delivery; stores that keep LF convert when writing.
    `sealed`: what the tables process said about the recipients, as far as they were asked about.
    """

    queue_id: QueueId
    envelope: Envelope
    arrival: Arrival
    size: int
    content: bytes = b""
    handle: int = 0
    sealed: tuple[bytes, ...] = ()
    replies: ClassVar = (Done,)


class Outcomes(Record, frozen=True):
    """`destination_failed`: no connection, or it broke before the peer said anything about a recipient; such failures
    lower the concurrency of the destination and in the end declare it dead for a while (deferrals by a working peer
    do not)."""

    results: tuple[RecipientResult, ...]
    destination_failed: bool = False


class Transact(Request, frozen=True):
    """LMTP: deliver now, do not queue; one result per recipient, after it is durable."""

    queue_id: QueueId
    envelope: Envelope
    arrival: Arrival
    size: int
    content: bytes = b""
    handle: int = 0
    sealed: tuple[bytes, ...] = ()
    replies: ClassVar = (Outcomes,)


class Flush(Request, frozen=True):
    """ETRN and `postqueue -s`: try again what waits for `site` ("" for everything)."""

    site: str = ""
    replies: ClassVar = (Done,)


# ── queue: delivery (delivery agents connect; the queue then makes requests) ────────────────────────────────────────


class Register(Request, frozen=True):
    """A delivery process says what it is: `agent` "mailbox", "smtp" or "local"; `worker` its number."""

    agent: str
    worker: int
    replies: ClassVar = (Done,)


class JobRecipient(msgspec.Struct, frozen=True, array_like=True):
    """`action` counts the times this recipient was created for this message (a requeue makes a new one), so that
    queue id + index + action names one delivery for ever."""

    index: int
    action: int
    address: Address
    original: str = ""
    notify: tuple[str, ...] = ()
    mailbox: str = ""
    """For virtual mailboxes named by a lookup table: the path below virtual_mailbox_base; "" asks userdb. For agent
    "local":
    what an alias names in place of a mailbox ("|command", "/file", ":include:/file"); "" delivers to the user."""


class Deliver(Request, frozen=True):
    """Queue to agent: try these recipients of this message now. Recipients share transport and nexthop.

    Content is inline, or (`content` empty and `size` > 0) the one descriptor that comes with the frame, read only,
    message
    from offset 0. `maybe_delivered` is true if an earlier attempt may have succeeded without our knowing
    (after a crash): then a mailbox looks before it writes. `is_awaited`: a client waits for the outcome (LMTP).
    """

    queue_id: QueueId
    transport: str
    nexthop: str
    sender: Address | None
    recipients: tuple[JobRecipient, ...]
    arrived_s: float
    active_s: float
    size: int
    content: bytes = b""
    body: str = ""
    smtputf8: bool = False
    ret: str = ""
    envid: str = ""
    maybe_delivered: bool = False
    is_awaited: bool = False
    replies: ClassVar = (Outcomes,)


class Written(Note, frozen=True):
    """mailbox to queue: this job is written but not yet flushed; it no longer counts against concurrency."""

    queue_id: QueueId
    indexes: tuple[int, ...]


class Retired(Note, frozen=True):
    """queue to mailbox: these deliveries are durably recorded as done and will never be asked for again."""

    deliveries: tuple[DeliveryId, ...]


# ── tables: rewrite and lookups (smtpd, queue, smtp connect) ────────────────────────────────────────────────────────


class Resolution(Record, frozen=True):
    """`address_class`: "local", "virtual_alias", "virtual_mailbox", "relay" or "default" (Postfix ADDRESS_CLASS).
    `known`: does the recipient exist in its class (always true for "default")? `recipient` is canonical.
    With `error_reply` set, mail for it is answered or bounced with that. `mailbox` is the table's path for a virtual
    mailbox that is not in the directory (see JobRecipient). `whole_domain`: every ordinary address in this domain
    (`Address.is_ordinary`) goes the same way. `sealed` is for the queue (runtime.sealing)."""

    address_class: str
    transport: str
    nexthop: str
    recipient: Address
    known: bool = True
    error_reply: Reply | None = None
    mailbox: str = ""
    whole_domain: bool = False
    sealed: bytes = b""


class Resolve(Request, frozen=True):
    """`for_delivery`: mail for this recipient will be given to the queue, and the answer may be sealed for it."""

    recipient: Address
    sender: Address | None = None
    for_delivery: bool = False
    replies: ClassVar = (Resolution,)


class SealFor(Request, frozen=True):
    """queue: answers that are for me are sealed with this key."""

    key: bytes
    replies: ClassVar = (Done,)


class Expansion(Record, frozen=True):
    """Virtual alias expansion, complete (recursive): the recipients in place of the asked one. `whole_domain`: every
    ordinary address in this domain stands for itself."""

    recipients: tuple[Address, ...]
    whole_domain: bool = False


class ExpandVirtual(Request, frozen=True):
    recipient: Address
    replies: ClassVar = (Expansion,)


class AliasExpansion(Record, frozen=True):
    """Right-hand side of alias_maps as text, None if there is no such alias; `owner` true if owner-NAME exists."""

    value: str | None
    owner: bool = False


class LookupAlias(Request, frozen=True):
    """alias_maps, for local(8): `name` is the local part without extension handling."""

    name: str
    replies: ClassVar = (AliasExpansion,)


class LookupResult(Record, frozen=True):
    value: str | None


class Lookup(Request, frozen=True):
    """`maps` is the name of a main.cf parameter that holds a list of tables; only names in the tables service's own
    list
    are answered, so that a broken client cannot read arbitrary files."""

    maps: str
    key: str
    replies: ClassVar = (LookupResult,)


# ── auth ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class UserEntry(Record, frozen=True):
    """userdb's answer: never a hash. `mail` is a mail_location such as "maildir:/var/vmail/d/u" fully expanded.
    `quota_octets` 0 means no limit."""

    user: str
    uid: int
    gid: int
    home: str
    mail: str
    quota_octets: int = 0


class NoSuchUser(Record, frozen=True):
    pass


class LookupUser(Request, frozen=True):
    """userdb by login name or address. A database that does not answer is a Failure, never NoSuchUser."""

    user: str
    service: str
    replies: ClassVar = (UserEntry, NoSuchUser)


class Redeem(Request, frozen=True):
    """mailbox trades a one-time ticket for the user it was issued for; `service` is the session's protocol ("imap",
    "pop3"),
    and a ticket for another one is no ticket."""

    ticket: bytes
    service: str = ""
    replies: ClassVar = (UserEntry, NoSuchUser)


class AuthChallenge(Record, frozen=True):
    data: bytes


class AuthSuccess(Record, frozen=True):
    """`ticket` (32 random octets) admits one session at mailbox, for `auth_ticket_lifetime`; empty for SMTP.
    `group` routes to the mailbox worker (hash of the user modulo workers is computed by login)."""

    user: str
    ticket: bytes = b""


class AuthFailure(Record, frozen=True):
    """`temporary`: a database was down; never counts as a wrong password. `reason` is for the log only."""

    temporary: bool
    reason: str
    disabled: bool = False
    protocol_error: bool = False


class Authenticate(Request, frozen=True):
    """Start one SASL exchange. `session` is chosen by the client and unique within its connection; `service` is "imap",
    "pop3", "smtp"…; `remote` and `local` are addresses without port; `log_session` is the id in the log's session=<>.
    """

    session: int
    mechanism: str
    response: bytes | None
    service: str
    remote: str
    local: str
    secured: bool
    log_session: str = ""
    no_penalty: bool = False
    """The client vouches for who is behind it (webmail of a foreign server's trusted network)."""
    bindings: tuple[tuple[str, bytes], ...] = ()
    """Channel bindings of the TLS connection, by type, where mechanisms with -PLUS were offered."""
    has_certificate: bool = False
    """The client has shown one, and it was verified."""
    certified: str = ""
    """The user name in it, which counts more than what the mechanism says."""
    replies: ClassVar = (AuthChallenge, AuthSuccess, AuthFailure)


class ContinueAuth(Request, frozen=True):
    session: int
    response: bytes
    replies: ClassVar = (AuthChallenge, AuthSuccess, AuthFailure)


class CancelAuth(Note, frozen=True):
    session: int


class Mechanisms(Record, frozen=True):
    """Name and flags (Dovecot's words) of each; none while the server that checks the passwords is away."""

    mechanisms: tuple[tuple[str, tuple[str, ...]], ...]


class AskMechanisms(Request, frozen=True):
    """Which SASL mechanisms may be offered to SMTP clients?"""

    replies: ClassVar = (Mechanisms,)


class DirectoryValues(Record, frozen=True):
    """None: no such key. For "aliases" the targets; for "domains" and "accounts" one value."""

    values: tuple[str, ...] | None


class LookupDirectory(Request, frozen=True):
    """The embedded directory as a lookup table: `table` is "domains", "accounts" or "aliases"."""

    table: str
    key: str
    replies: ClassVar = (DirectoryValues,)


# ── mailbox (login connects) ────────────────────────────────────────────────────────────────────────────────────────


class Admitted(Record, frozen=True):
    """The session has begun in the process `pid`, which the log of the login names (mpid=)."""

    pid: int


class Handover(Request, frozen=True):
    """login gives an authenticated connection away: the client's socket (plain), or one end of a socket pair whose
    other end login keeps for TLS, comes with the frame as its one descriptor. `unread` is what the client sent
    behind the command. mailbox itself writes the tagged OK (Done and Admitted both mean that it will). Failure: login
    answers the client and closes; with the status 4.7.0 (too many sessions of this user) it passes on the reply's text.
    """

    protocol: str
    """"imap" or "pop3"; "doveadm" (on the admin socket only) is IMAP without a greeting's tag."""
    ticket: bytes
    tag: str
    remote: str
    local: str
    secured: bool
    session: str
    unread: bytes = b""
    replies: ClassVar = (Done, Admitted)


# ── control: log, counters ──────────────────────────────────────────────────────────────────────────────────────────


class LogRecord(msgspec.Struct, frozen=True, array_like=True):
    at_s: float
    level: int
    ident: str
    """"postfix/smtpd" or "dovecot"; control adds host name and, for Postfix style, the pid."""
    pid: int
    text: str


class LogLines(Note, frozen=True):
    records: tuple[LogRecord, ...]


class Counts(Record, frozen=True):
    """`connections` now open from this client to this service; `rate` events within anvil_rate_time_unit."""

    connections: int
    rate: int


class CountConnect(Request, frozen=True):
    service: str
    client: str
    replies: ClassVar = (Counts,)


class CountDisconnect(Note, frozen=True):
    service: str
    client: str


class CountEvent(Request, frozen=True):
    """`event`: "message", "recipient", "newtls" or "auth"."""

    service: str
    client: str
    event: str
    replies: ClassVar = (Counts,)


# ── queue: administration (commands connect) ────────────────────────────────────────────────────────────────────────


class QueueRecipient(msgspec.Struct, frozen=True):
    address: str
    delay_reason: str = ""


class QueueEntry(msgspec.Struct, frozen=True):
    """One message as `postqueue -j` names it: `queue_name` is "active", "deferred", "hold", "incoming"."""

    queue_name: str
    queue_id: str
    arrival_time: float
    message_size: int
    sender: str
    recipients: tuple[QueueRecipient, ...]


class QueuePage(Record, frozen=True):
    """`after` is the id to ask on with; "" at the end."""

    entries: tuple[QueueEntry, ...]
    after: str = ""


class ListQueue(Request, frozen=True):
    after: str = ""
    limit: int = 500
    replies: ClassVar = (QueuePage,)


class FlushMessage(Request, frozen=True):
    """`postqueue -i`."""

    queue_id: QueueId
    replies: ClassVar = (Done,)


class Changed(Record, frozen=True):
    count: int


class ChangeMessages(Request, frozen=True):
    """postsuper: `action` "delete", "hold", "release" or "requeue"; `queue_ids` empty means ALL, with `queue_names`
    as filter.
    Answered after the flush."""

    action: str
    queue_ids: tuple[QueueId, ...]
    queue_names: tuple[str, ...] = ()
    replies: ClassVar = (Changed,)


class QueuedMessage(Record, frozen=True):
    """`content` is at most one frame; the rest is asked for by offset."""

    entry: QueueEntry
    envelope: Envelope
    arrival: Arrival
    content: bytes


class ReadMessage(Request, frozen=True):
    """postcat -q."""

    queue_id: QueueId
    offset: int = 0
    replies: ClassVar = (QueuedMessage,)


# ── doveadm (commands connect to auth and to the mailbox workers) ────────────────────────────────────────────────────


class LoginEntry(Record, frozen=True):
    """What passdb says of somebody who may log in, without anything secret."""

    user: str
    fields: tuple[tuple[str, str], ...] = ()


class LookupLogin(Request, frozen=True):
    """passdb by login name, without a password."""

    user: str
    replies: ClassVar = (LoginEntry, NoSuchUser)


class UserPage(Record, frozen=True):
    """`after` is the name to ask on with; "" at the end. `unlisted` names the userdb drivers that list nobody."""

    users: tuple[str, ...]
    after: str = ""
    unlisted: tuple[str, ...] = ()


class ListUsers(Request, frozen=True):
    after: str = ""
    limit: int = 5000
    replies: ClassVar = (UserPage,)


class IssueTicket(Request, frozen=True):
    """A ticket for the service "doveadm"; the answer has the name as userdb has it."""

    user: str
    replies: ClassVar = (AuthSuccess, NoSuchUser)


class FlushAuthCache(Request, frozen=True):
    """Of these users; of everybody, if empty."""

    users: tuple[str, ...] = ()
    replies: ClassVar = (Changed,)


class SessionEntry(msgspec.Struct, frozen=True):
    """`number` names it within its process."""

    number: int
    user: str
    service: str
    remote: str
    pid: int


class SessionPage(Record, frozen=True):
    """`after` is the number to ask on with; 0 at the end."""

    sessions: tuple[SessionEntry, ...]
    after: int = 0


class ListSessions(Request, frozen=True):
    after: int = 0
    limit: int = 5000
    replies: ClassVar = (SessionPage,)


class EndSessions(Request, frozen=True):
    numbers: tuple[int, ...]
    replies: ClassVar = (Changed,)


class MailboxFacts(msgspec.Struct, frozen=True):
    """`name` with "/" between levels; `guid` 32 hexadecimal digits; `size` in octets as IMAP counts them."""

    name: str
    guid: str
    path: str
    messages: int
    recent: int
    unseen: int
    uid_next: int
    uid_validity: int
    highest_modseq: int
    size: int


class StoreFacts(Record, frozen=True):
    """`missing`: what was named and is not there. `quota_limit` 0 is none."""

    mailboxes: tuple[MailboxFacts, ...]
    missing: tuple[str, ...] = ()
    quota_used: int = 0
    quota_limit: int = 0


class InspectStore(Request, frozen=True):
    """About these mailboxes (None: all) of the ticket's user. `rescan` looks at every file first, `recount` counts the
    quota anew."""

    ticket: bytes
    names: tuple[str, ...] | None = None
    rescan: bool = False
    recount: bool = False
    replies: ClassVar = (StoreFacts,)


@dataclass(frozen=True)
class Endpoint:
    """One kind of conversation. `accepts` are the requests and notes the server understands, `issues` those the
    server may send to the client on the same connection. `descriptors` says whether frames may carry any."""

    name: str
    server: str
    accepts: tuple[type[Record], ...]
    issues: tuple[type[Record], ...] = ()
    descriptors: bool = False


QUEUE_INTAKE: Final = Endpoint(
    "intake", "queue", (LeaseQueueIds, OpenContent, AppendContent, AbortContent, Submit, Transact, Flush)
)
QUEUE_DELIVERY: Final = Endpoint("delivery", "queue", (Register, Written), issues=(Deliver, Retired), descriptors=True)
QUEUE_ADMIN: Final = Endpoint("admin", "queue", (ListQueue, FlushMessage, Flush, ChangeMessages, ReadMessage))
QUEUE_SHOW: Final = Endpoint("show", "queue", (ListQueue, FlushMessage, Flush))
TABLES: Final = Endpoint("tables", "tables", (Resolve, ExpandVirtual, LookupAlias, Lookup, SealFor))
AUTH_LOGIN: Final = Endpoint("login", "auth", (Authenticate, ContinueAuth, CancelAuth, AskMechanisms))
AUTH_USERDB: Final = Endpoint("userdb", "auth", (LookupUser, Redeem))
AUTH_DIRECTORY: Final = Endpoint("directory", "auth", (LookupDirectory,))
AUTH_ADMIN: Final = Endpoint(
    "admin", "auth", (Authenticate, LookupUser, LookupLogin, ListUsers, IssueTicket, FlushAuthCache)
)
MAILBOX_HANDOVER: Final = Endpoint("handover", "mailbox", (Handover,), descriptors=True)
MAILBOX_ADMIN: Final = Endpoint(
    "admin", "mailbox", (Handover, ListSessions, EndSessions, InspectStore), descriptors=True
)
CONTROL: Final = Endpoint("control", "control", (LogLines, CountConnect, CountDisconnect, CountEvent))
