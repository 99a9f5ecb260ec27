"""NAME
    local - delivery to system users
SYNOPSIS
    local [started by master]
DESCRIPTION
    Takes jobs of the transport "local" from the queue and delivers them as the recipient: to the mailbox file
    (mail_spool_directory), to home_mailbox (a file, or a Maildir with a final slash), or to mailbox_command. A .forward
    file of the recipient (forward_path) may name addresses, which take the recipient's place in the queue, and files,
    commands and "\\user", which are delivered to at once. What an alias names in place of a user ("|command", "/file",
    ":include:/file") is delivered with the rights of default_privs.

    Mail is on stable storage before it is reported as delivered. A mailbox or Maildir gets a message exactly once,
    whatever dies in between; a command at least once. Without root only the user who started the system can be
    delivered to; mail for others waits.
SECURITY
    The parent looks up users and hands out work; it opens no file. Each delivery is made by a child that became the
    recipient for good before its first job; children are made by a small process that never saw a message. Children
    cannot gain privileges, except those that run the user's own command, which is what the user's shell could run too.
    A child that writes mail_spool_directory has that directory's group, as its mode demands, and runs nothing.
DIAGNOSTICS
    One line for each recipient and attempt, as Postfix's local(8). A .forward file with a mistake in it is a warning,
    and the mail goes to the mailbox. A child that is lost is asked once more; then the recipient is deferred.
BUGS
    When one target of a .forward fails for good, the sender is told and the targets behind it get nothing.
SEE ALSO
    ARCHITECTURE.md section 3, aliases(5), services.queue
"""

import asyncio
import os
import pwd
import stat
from dataclasses import dataclass
from typing import ClassVar, Final

import msgspec

from posthouse.config.parameter import Settings
from posthouse.config.parameters import general, local
from posthouse.core.address import Address
from posthouse.core.aliases import BadAlias, Kind, Target, parse
from posthouse.core.delivery_line import DeliveryLine
from posthouse.core.identifiers import delivery_id
from posthouse.core.logline import Level, Message
from posthouse.core.result import DeliveryStatus, RecipientResult
from posthouse.delivery import environment, forward
from posthouse.delivery.children import ChildLost, Children
from posthouse.delivery.forker import Forker
from posthouse.delivery.protocol import Answers, Drop, Outcome, Question, ReadForward, ReadInclude, Run, Spawn, Text
from posthouse.runtime.ipc import Connection, Peer, Responder
from posthouse.runtime.process import Context, ProcessMain
from posthouse.runtime.schema import QUEUE_DELIVERY, Deliver, Done, JobRecipient, Outcomes, Record, Register, Retired

AGENT: Final = "local"
HEADER_OCTETS: Final = 256 * 1024


class Delivered(DeliveryLine, frozen=True):
    """The end of one attempt for one local recipient."""

    program: ClassVar[str] = "local"
    doc = "What became of one local recipient in this attempt."


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings of this service, read once."""

    spool: str
    home_mailbox: str
    command: str
    locks: tuple[str, ...]
    lock_attempts: int
    lock_delay_s: float
    lock_stale_s: float
    size_limit: int
    is_owner_strict: bool
    needs_home: bool
    forward_path: str
    forward_characters: str
    to_commands: tuple[str, ...]
    to_files: tuple[str, ...]
    list_size_limit: int
    default_user: str
    command_time_limit_s: float
    command_output_limit: int
    shell: str
    exported: tuple[str, ...]
    host: str
    delimiter: str
    domains: frozenset[str]

    @classmethod
    def of(cls, settings: Settings) -> "Rules":
        return cls(
            settings[local.MAIL_SPOOL_DIRECTORY],
            settings[local.HOME_MAILBOX],
            settings[local.MAILBOX_COMMAND],
            settings[local.MAILBOX_DELIVERY_LOCK],
            settings[general.DELIVER_LOCK_ATTEMPTS],
            settings[general.DELIVER_LOCK_DELAY],
            settings[general.STALE_LOCK_TIME],
            settings[local.MAILBOX_SIZE_LIMIT],
            settings[local.STRICT_MAILBOX_OWNERSHIP],
            settings[local.REQUIRE_HOME_DIRECTORY],
            settings[local.FORWARD_PATH],
            settings[local.FORWARD_EXPANSION_FILTER],
            settings[local.ALLOW_MAIL_TO_COMMANDS],
            settings[local.ALLOW_MAIL_TO_FILES],
            settings[local.FORWARD_FILE_SIZE_LIMIT],
            settings[local.DEFAULT_PRIVS],
            settings[local.COMMAND_TIME_LIMIT],
            settings[local.COMMAND_OUTPUT_LIMIT],
            settings[local.LOCAL_COMMAND_SHELL],
            settings[local.EXPORT_ENVIRONMENT],
            settings[general.MYHOSTNAME],
            settings[general.RECIPIENT_DELIMITER],
            frozenset(one.lower() for one in settings[general.MYDESTINATION]),
        )


class Failed(Exception):
    """This recipient's delivery ends here, with `dsn` 4.x.x or 5.x.x. `is_uncertain`: perhaps it was written."""

    def __init__(self, dsn: str, words: str, *, is_uncertain: bool = False) -> None:
        super().__init__(words)
        self.is_uncertain = is_uncertain
        self.dsn = dsn
        self.words = words


@dataclass(slots=True)
class Attempt:
    """One recipient of one job."""

    job: Deliver
    recipient: JobRecipient
    descriptor: int | None
    user: pwd.struct_passwd
    extension: str
    maybe_delivered: bool

    @property
    def address(self) -> str:
        return str(self.recipient.address)

    @property
    def sender(self) -> str:
        return str(self.job.sender) if self.job.sender else ""

    @property
    def delivery(self) -> str:
        return delivery_id(self.job.queue_id, self.recipient.index, self.recipient.action)

    @property
    def descriptors(self) -> tuple[int, ...]:
        return () if self.descriptor is None else (self.descriptor,)

    def head(self) -> bytes:
        """In front of the message, in Postfix's order."""
        original = self.recipient.original or self.address
        lines = (f"Return-Path: <{self.sender}>", f"X-Original-To: {original}", f"Delivered-To: {self.address}")
        # An address cannot bring a line of its own into the header.
        safe = ("".join(one if one not in "\r\n\0" else "?" for one in line) for line in lines)
        return "".join(f"{line}\n" for line in safe).encode("utf-8", "surrogateescape")


class LocalProcess(ProcessMain):
    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._rules = Rules.of(context.settings)
        self._forker: Forker | None = None
        self._children: Children | None = None
        self._queue: Peer | None = None
        self._running = 0
        self._jobs: set[asyncio.Task[object]] = set()
        self._is_draining = False
        self._idle = asyncio.Event()

    def before_jail(self) -> None:
        self._forker = Forker()

    async def start(self) -> None:
        settings = self.context.settings
        forker = self._forker = self._forker or Forker()
        asyncio.get_running_loop().add_reader(forker.fileno(), self._on_forker_lost)
        self._children = Children(forker, settings[local.LOCAL_CHILD_LIMIT], settings[local.LOCAL_CHILD_IDLE_TIME])
        self._idle.set()
        self._queue = self.context.peer(QUEUE_DELIVERY, self._on_request, on_connect=self._register)
        self._keep_connected()

    def _on_forker_lost(self) -> None:
        """Another one must not be made here, where messages have been: so this process begins anew, too."""
        self._forget_forker()
        self.context.request_restart("the process that makes deliverers is gone")

    def _forget_forker(self) -> None:
        if self._forker is not None:
            asyncio.get_running_loop().remove_reader(self._forker.fileno())

    def _keep_connected(self) -> None:
        """The queue may start after us, or again: whenever the connection is lost, make it anew."""
        assert self._queue is not None
        task = asyncio.get_running_loop().create_task(self._queue.connect())
        task.add_done_callback(self._on_connected)

    def _on_connected(self, task: "asyncio.Task[Connection]") -> None:
        if task.cancelled():
            return
        if task.exception() is not None:
            if not self._is_draining:
                asyncio.get_running_loop().call_later(0.2, self._keep_connected)
        else:
            task.result().closed.add_done_callback(self._on_lost)

    def _on_lost(self, _: "asyncio.Future[str]") -> None:
        # Nobody hears what these would say, and a new queue gives them out again: a child that still waits for a lock
        # sees that its question is withdrawn; one that writes has the lock, and is found to have written.
        for job in self._jobs:
            job.cancel()
        if self._queue is not None and not self._is_draining:
            self._keep_connected()

    async def _register(self, connection: Connection) -> None:
        reply = await connection.call(Register(AGENT, self.context.worker))
        assert isinstance(reply, Done)

    async def drain(self) -> None:
        """A queue that starts meanwhile is served by the process that takes our place."""
        self._is_draining = True
        await self._idle.wait()

    async def stop(self) -> None:
        # Deliveries at work are finished: a child that is killed in between costs the next start a search.
        await self._idle.wait()
        if self._queue is not None:
            queue, self._queue = self._queue, None
            queue.close()
        self._forget_forker()
        if self._children is not None:
            self._children.close()

    # ── jobs ──

    def _on_request(
        self, connection: Connection, record: Record, descriptors: list[int], respond: Responder | None
    ) -> None:
        if isinstance(record, Deliver):
            descriptor = descriptors[0] if descriptors else None
            for unexpected in descriptors[1:]:
                os.close(unexpected)
            self._running += 1
            self._idle.clear()
            connection.respond_with(respond, self._deliver(record, descriptor))
        elif not isinstance(record, Retired):
            raise TypeError(f"unexpected {type(record).__name__}")

    async def _deliver(self, job: Deliver, descriptor: int | None) -> Outcomes:
        task = asyncio.current_task()
        assert task is not None
        self._jobs.add(task)
        try:
            return Outcomes(tuple([await self._one(job, one, descriptor) for one in job.recipients]))
        finally:
            if descriptor is not None:
                os.close(descriptor)
            self._jobs.discard(task)
            self._running -= 1
            if not self._running:
                self._idle.set()

    async def _one(self, job: Deliver, recipient: JobRecipient, descriptor: int | None) -> RecipientResult:
        started_s = self.context.clock.now()
        redirect: tuple[Address, ...] = ()
        is_uncertain = False
        try:
            dsn, words, redirect = await self._attempt(job, recipient, descriptor)
        except Failed as failure:
            dsn, words, is_uncertain = failure.dsn, failure.words, failure.is_uncertain
        except Exception as error:  # the edge: our bug costs this recipient a retry, never the process
            self.context.report(f"delivering {job.queue_id}", error)
            dsn, words, is_uncertain = "4.3.0", "internal error", True
        done_s = self.context.clock.now()
        status = {"2": DeliveryStatus.SENT, "4": DeliveryStatus.DEFERRED, "5": DeliveryStatus.BOUNCED}[dsn[0]]
        self.context.emit(
            Delivered(
                queue_id=job.queue_id,
                to=str(recipient.address),
                original=recipient.original,
                relay=AGENT,
                delays=(
                    max(0.0, job.active_s - job.arrived_s),
                    max(0.0, started_s - job.active_s),
                    0.0,
                    max(0.0, done_s - started_s),
                ),
                dsn=dsn,
                status=status.value,
                words=words,
            )
        )
        if redirect:
            status = DeliveryStatus.REDIRECTED
        return RecipientResult(
            recipient.index,
            status,
            dsn,
            words,
            AGENT,
            done_s=max(0.0, done_s - started_s),
            redirect=redirect,
            is_uncertain=is_uncertain,
        )

    async def _attempt(
        self, job: Deliver, recipient: JobRecipient, descriptor: int | None
    ) -> tuple[str, str, tuple[Address, ...]]:
        """(dsn, words, addresses in place of the recipient). Raises Failed."""
        content = job.content or (os.pread(descriptor, HEADER_OCTETS, 0) if descriptor is not None else b"")
        if forward.is_loop(content, str(recipient.address)):
            raise Failed("5.4.6", f"mail forwarding loop for {recipient.address}")
        maybe = job.maybe_delivered
        if recipient.mailbox:
            attempt = Attempt(job, recipient, descriptor, self._default_user(), "", maybe)
            return await self._to_alias_target(attempt)
        found = self._find_user(recipient.address.local_part)
        if found is None:
            raise Failed("5.1.1", f'unknown user: "{recipient.address.local_part}"')
        user, extension = found
        attempt = Attempt(job, recipient, descriptor, user, extension, maybe)
        targets = await self._forward_targets(attempt)
        if targets is None:
            return (*await self._to_mailbox(attempt), ())
        return await self._to_targets(attempt, targets, "forward")

    # ── who ──

    def _find_user(self, local_part: str) -> tuple[pwd.struct_passwd, str] | None:
        """The system user and the address extension. The whole local part counts before a part of it."""
        name = local_part.lower()
        for candidate, extension in _splits(name, self._rules.delimiter):
            try:
                return pwd.getpwnam(candidate), extension
            except (KeyError, ValueError, UnicodeEncodeError):
                continue
        return None

    def _default_user(self) -> pwd.struct_passwd:
        if os.geteuid() != 0:
            return pwd.getpwuid(os.geteuid())
        try:
            return pwd.getpwnam(self._rules.default_user)
        except KeyError:
            raise Failed("4.3.5", f"default_privs: there is no user {self._rules.default_user}") from None

    def _rights(self, user: pwd.struct_passwd, *, spool: str = "", runs_commands: bool = False) -> Spawn:
        if os.geteuid() != 0 and user.pw_uid != os.geteuid():
            raise Failed(
                "4.3.5", f"mail for {user.pw_name} cannot be delivered: the mail system was not started by root"
            )
        groups: tuple[int, ...] = ()
        if os.geteuid() == 0:
            groups = tuple(os.getgrouplist(user.pw_name, user.pw_gid))
        if spool:
            # Only the group that the spool's own mode asks for; and nothing of the user's is run with it.
            facts = os.stat(spool)
            groups = (facts.st_gid,) if os.geteuid() == 0 and facts.st_mode & stat.S_IWGRP else ()
        return Spawn(user.pw_name, user.pw_uid, user.pw_gid, groups, runs_commands)

    async def _ask(self, attempt: Attempt, who: Spawn, question: Question) -> Answers:
        """A child that dies is asked once more; then a file is searched before it is written."""
        assert self._children is not None
        try:
            answer = await self._children.ask(who, question, attempt.descriptors)
        except (ChildLost, OSError) as first:
            if isinstance(question, Run):
                raise Failed("4.3.0", f"the process that ran the command was lost: {first}") from first
            try:
                answer = await self._children.ask(who, _looking_first(question), attempt.descriptors)
            except (ChildLost, OSError) as error:
                raise Failed("4.3.0", f"the delivering process was lost: {error}", is_uncertain=True) from error
        for warning in answer.warnings:
            self.context.emit(Message(Level.WARNING, "local", f"warning: {attempt.job.queue_id}: {warning}"))
        return answer

    # ── .forward ──

    async def _forward_targets(self, attempt: Attempt) -> tuple[Target, ...] | None:
        """None: there is no .forward, or it names nobody."""
        user, rules = attempt.user, self._rules
        facts = {
            "home": user.pw_dir,
            "user": user.pw_name,
            "shell": user.pw_shell,
            "recipient": attempt.address,
            "extension": attempt.extension,
            "domain": attempt.recipient.address.domain,
            "local": attempt.recipient.address.local_part,
            "recipient_delimiter": _delimiter_in(attempt) if attempt.extension else "",
        }
        candidates = forward.paths(rules.forward_path, facts, rules.forward_characters)
        home = user.pw_dir if rules.needs_home else ""
        if not candidates and not home:
            return None
        question = ReadForward(candidates, user.pw_uid, rules.list_size_limit, home)
        answer = await self._ask(attempt, self._rights(user), question)
        if isinstance(answer, Outcome):
            raise Failed(answer.dsn, answer.words)
        if answer.text is None:
            return None
        try:
            return parse(answer.text) or None
        except BadAlias as error:
            # Mail must not get lost over a slip in the user's own file: it goes to the mailbox.
            words = f"warning: {attempt.job.queue_id}: {answer.path}: {error}; it is not used"
            self.context.emit(Message(Level.WARNING, "local", words))
            return None

    async def _to_targets(
        self, attempt: Attempt, targets: tuple[Target, ...], source: str
    ) -> tuple[str, str, tuple[Address, ...]]:
        """Mailboxes and files first, they can be repeated safely; then commands; addresses are the queue's."""
        addresses: list[Address] = []
        here: list[Target] = []
        for target in targets:
            if target.kind is Kind.INCLUDE:
                raise Failed("5.2.0", f":include: is not permitted in {source} files")
            if target.kind is Kind.ADDRESS and not self._is_own(attempt, target):
                addresses.append(Address.split(target.text))
            else:
                here.append(target)
        # If one of several fails for now, all are tried again: those that can must then see that they have the message.
        attempt.maybe_delivered |= len(here) > 1
        said: list[str] = []
        for target in sorted(here, key=lambda one: one.kind is Kind.COMMAND):
            if target.kind is Kind.COMMAND:
                dsn, words = await self._to_command(attempt, target.text, source)
            elif target.kind is Kind.FILE:
                dsn, words = await self._to_file(attempt, target.text, source)
            else:
                dsn, words = await self._to_mailbox(attempt)
            if dsn[0] != "2":
                raise Failed(dsn, words)
            said.append(words)
        if addresses:
            said.append(f"forwarded as {attempt.job.queue_id}")
        return "2.0.0", "; ".join(said), tuple(addresses)

    def _is_own(self, attempt: Attempt, target: Target) -> bool:
        """The recipient's own name in his own .forward (with or without "\\") means his mailbox."""
        if target.text.startswith("/") or target.kind is not Kind.ADDRESS:
            return False
        address = Address.split(target.text)
        names = {attempt.user.pw_name.lower(), attempt.recipient.address.local_part.lower()}
        if address.local_part.lower() not in names:
            return False
        domain = address.domain.lower()
        return not domain or domain in self._rules.domains or domain == attempt.recipient.address.domain.lower()

    # ── what an alias names ──

    async def _to_alias_target(self, attempt: Attempt) -> tuple[str, str, tuple[Address, ...]]:
        text = attempt.recipient.mailbox
        if text.startswith("|"):
            return (*await self._to_command(attempt, text[1:], "alias"), ())
        if text.lower().startswith(":include:"):
            return await self._to_include(attempt, text[len(":include:") :].strip())
        if text.startswith("/"):
            return (*await self._to_file(attempt, text, "alias"), ())
        raise Failed("5.2.0", f"not understood in an alias: {text}")

    async def _to_include(self, attempt: Attempt, path: str) -> tuple[str, str, tuple[Address, ...]]:
        question = ReadInclude(path, self._rules.list_size_limit)
        answer = await self._ask(attempt, self._rights(attempt.user), question)
        if isinstance(answer, Outcome) or answer.text is None:
            raise Failed("4.2.4", f"error reading mailing list {path}: {getattr(answer, 'words', '')}")
        try:
            targets = parse(answer.text)
        except BadAlias as error:
            raise Failed("4.2.4", f"error in mailing list {path}: {error}") from error
        if not targets:
            raise Failed("5.2.4", f"mailing list {path} names nobody")
        return await self._to_targets(attempt, targets, "include")

    # ── the ends ──

    async def _to_mailbox(self, attempt: Attempt) -> tuple[str, str]:
        user, rules = attempt.user, self._rules
        if rules.command:
            return await self._run(attempt, rules.command, user)
        if rules.home_mailbox:
            path = f"{user.pw_dir.rstrip('/')}/{rules.home_mailbox}"
            return await self._drop(attempt, path, self._rights(user), self._owner(user), "mailbox")
        spool = rules.spool.rstrip("/") or "/"
        path = f"{spool}/{user.pw_name}" + ("/" if rules.spool.endswith("/") else "")
        try:
            rights = self._rights(user, spool=spool)
        except OSError as error:
            raise Failed("4.2.0", f"cannot access {spool}: {error.strerror}") from error
        return await self._drop(attempt, path, rights, self._owner(user), "mailbox")

    def _owner(self, user: pwd.struct_passwd) -> int:
        return user.pw_uid if self._rules.is_owner_strict else -1

    async def _to_file(self, attempt: Attempt, path: str, source: str) -> tuple[str, str]:
        if source not in self._rules.to_files:
            raise Failed("5.2.0", "mail to file is restricted")
        user = self._runner(attempt)
        if path == "/dev/null":
            return "2.0.0", f"delivered to file: {path}"
        return await self._drop(attempt, path, self._rights(user), -1, f"file: {path}")

    async def _to_command(self, attempt: Attempt, command: str, source: str) -> tuple[str, str]:
        if source not in self._rules.to_commands:
            raise Failed("5.2.0", "mail to command is restricted")
        return await self._run(attempt, command, self._runner(attempt))

    def _runner(self, attempt: Attempt) -> pwd.struct_passwd:
        """Root's own .forward does not run programs as root."""
        return self._default_user() if attempt.user.pw_uid == 0 else attempt.user

    async def _drop(self, attempt: Attempt, path: str, who: Spawn, owner: int, name: str) -> tuple[str, str]:
        rules, job = self._rules, attempt.job
        question = Drop(
            path,
            attempt.sender,
            attempt.head(),
            attempt.delivery,
            job.arrived_s,
            job.size,
            job.content,
            rules.host,
            rules.locks,
            rules.lock_attempts,
            rules.lock_delay_s,
            rules.lock_stale_s,
            rules.size_limit,
            owner,
            attempt.maybe_delivered,
        )
        answer = await self._ask(attempt, who, question)
        if isinstance(answer, Text):
            raise Failed("4.3.0", "internal error")
        if answer.dsn[0] != "2":
            shown = path.rstrip("/")
            where = f"cannot update mailbox {shown} for user {attempt.user.pw_name}. {answer.words}"
            if answer.is_uncertain:
                raise Failed(answer.dsn, where, is_uncertain=True)
            return answer.dsn, f"maildir delivery failed: {answer.words}" if path.endswith("/") else where
        return "2.0.0", "delivered to maildir" if path.endswith("/") else f"delivered to {name}"

    async def _run(self, attempt: Attempt, command: str, user: pwd.struct_passwd) -> tuple[str, str]:
        rules, job, address = self._rules, attempt.job, attempt.recipient.address
        facts = environment.for_command(
            rules.exported,
            sender=attempt.sender or "MAILER-DAEMON",
            recipient=attempt.address,
            original=attempt.recipient.original,
            local=address.local_part,
            extension=attempt.extension,
            domain=address.domain,
            user=user.pw_name,
            home=user.pw_dir,
            shell=user.pw_shell,
        )
        question = Run(
            command,
            rules.shell,
            user.pw_dir,
            facts,
            attempt.sender,
            attempt.head(),
            job.arrived_s,
            job.size,
            job.content,
            rules.command_time_limit_s,
            rules.command_output_limit,
        )
        answer = await self._ask(attempt, self._rights(user, runs_commands=True), question)
        if isinstance(answer, Text):
            raise Failed("4.3.0", "internal error")
        return answer.dsn, answer.words


def _splits(name: str, delimiters: str) -> list[tuple[str, str]]:
    """The whole name without an extension, then cut at the first delimiter."""
    found = [(name, "")]
    at = min((place for one in delimiters if (place := name.find(one)) > 0), default=-1)
    if at > 0:
        found.append((name[:at], name[at + 1 :]))
    return found


def _delimiter_in(attempt: Attempt) -> str:
    """The delimiter that this address has, for forward_path."""
    return attempt.recipient.address.local_part[-len(attempt.extension) - 1]


def _looking_first(question: Question) -> Question:
    return msgspec.structs.replace(question, maybe_delivered=True) if isinstance(question, Drop) else question
