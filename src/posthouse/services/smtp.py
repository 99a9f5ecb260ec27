"""NAME
    smtp - SMTP and LMTP client
SYNOPSIS
    smtp [generic service options]
DESCRIPTION
    Takes jobs from the queue and hands their messages to other servers: to the mail servers of a domain, to a relay
    host, or over LMTP to a mailbox server. Several messages travel over one connection one after the other; a
    connection is kept for a moment when its destination has traffic. Every recipient gets its own result, with the
    server's words.

    Transports are the entries of master.cf whose command is smtp or lmtp, with their -o options; the nexthop is a
    domain (its mail servers are looked up), [host], host:port, or unix:/path for LMTP.
STANDARDS
    RFC 5321 (SMTP protocol), RFC 2033 (LMTP protocol), RFC 1870 (message size), RFC 2920 (pipelining), RFC 3207
    (STARTTLS), RFC 3461 (DSN), RFC 4954 (AUTH), RFC 6152 (8bit-MIME), RFC 6531 (internationalised mail), RFC 7505
    (null MX), RFC 7435 (opportunistic security)
SECURITY
    Reads what strange servers say. Runs with no privilege, jailed, and opens no files after start; content comes from
    the queue as octets or as a descriptor that can only be read. It knows the passwords for smarthosts it asks for.
DIAGNOSTICS
    One line for each recipient and attempt; a line for each server that did not do while another was tried. What a
    peer did wrong is not an error of ours.
BUGS
    8-bit content is sent as it is to a server without 8BITMIME; it is not converted to quoted-printable. DANE is not
    supported. Tables in -o options of master.cf are not used, only those of main.cf.
SEE ALSO
    queue, tables; transport(5), master(5)
"""

import asyncio
import os
from typing import Final

from posthouse.config.interfaces import addresses, select
from posthouse.config.parameters import general
from posthouse.core.reply import TempFail
from posthouse.delivery.outbound.attempt import Attempt
from posthouse.delivery.outbound.hosts import HostFinder
from posthouse.delivery.outbound.job import Job
from posthouse.delivery.outbound.surroundings import Surroundings
from posthouse.delivery.outbound.transport import Transport, transports
from posthouse.runtime.dns import Resolver
from posthouse.runtime.dns_config import DnsConfig
from posthouse.runtime.ipc import Connection, Peer, Responder, SchemaError
from posthouse.runtime.process import Context, ProcessMain
from posthouse.runtime.schema import (
    QUEUE_DELIVERY,
    TABLES,
    Deliver,
    Done,
    Lookup,
    LookupResult,
    Record,
    Register,
    Retired,
)

AGENT: Final = "smtp"


class SmtpProcess(ProcessMain):
    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._transports: dict[str, Transport] = {}
        self._dns: DnsConfig | None = None
        self._own_addresses: frozenset[str] = frozenset()
        self._queue: Peer | None = None
        self._tables: Peer | None = None
        self._draining = False
        self._drained: asyncio.Event | None = None
        self._open_jobs = 0

    def before_jail(self) -> None:
        settings = self.context.settings
        self._transports = transports(self.context.configuration)
        self._dns = DnsConfig.read(settings)
        interfaces = settings[general.INET_INTERFACES]
        own = {str(one.ip) for one in select(addresses(), interfaces, ("all",))}
        own.update(word.strip("[]").lower() for word in settings[general.PROXY_INTERFACES])
        self._own_addresses = frozenset(own)

    async def start(self) -> None:
        if self._dns is None:
            self.before_jail()
        assert self._dns is not None
        clock = self.context.clock
        finder = HostFinder(Resolver(self._dns, clock), self._own_addresses)
        self._around = Surroundings(finder, self._lookup, clock, self.context.emit, self.context.report)
        self._tables = self.context.peer(TABLES)
        self._queue = self.context.peer(QUEUE_DELIVERY, self._handle, on_connect=self._register)
        await self._queue.connect()

    async def _register(self, connection: Connection) -> None:
        """Also after the queue was away: what was open then is asked for again by the queue."""
        await connection.call(Register(AGENT, self.context.worker))
        connection.closed.add_done_callback(lambda _: self._reconnect())

    def _reconnect(self) -> None:
        if self._queue is not None and not self._draining:
            self._around.start(self._connect_again())

    async def _connect_again(self) -> None:
        assert self._queue is not None
        while not self._draining:
            try:
                await self._queue.connect()
                return
            except TempFail:
                # `connect` has waited long enough itself.
                continue

    def _handle(
        self,
        connection: Connection,  # noqa: ARG002 - a Handler's signature
        record: Record,
        descriptors: list[int],
        respond: Responder | None,
    ) -> None:
        match record:
            case Deliver() if respond is not None:
                self._deliver(record, descriptors, respond)
            case Retired() | Done():
                pass
            case _:
                raise SchemaError(f"unexpected {type(record).__name__}")

    def _deliver(self, request: Deliver, descriptors: list[int], respond: Responder) -> None:
        clock = self.context.clock
        transport = self._transports.get(request.transport) or self._transports["smtp"]
        try:
            job = Job(request, descriptors, clock.now(), clock.monotonic())
        except BaseException:
            for descriptor in descriptors:
                os.close(descriptor)
            raise
        key = (request.transport, request.nexthop, job.sender if transport.settings.sasl_by_sender else "")
        self._open_jobs += 1

        def answer(outcomes: Record) -> None:
            self._open_jobs -= 1
            respond(outcomes)
            if self._drained is not None and not self._open_jobs:
                self._drained.set()

        Attempt(self._around, job, transport, key, answer).begin()

    async def drain(self) -> None:
        """Jobs in hand are finished; the queue gives new ones to the process that takes our place."""
        self._draining = True
        self._around.pool.close_idle()
        self._drained = asyncio.Event()
        if self._open_jobs:
            await self._drained.wait()

    async def stop(self) -> None:
        self._draining = True
        for peer in (self._queue, self._tables):
            if peer is not None:
                peer.close()
        if self._dns is not None:
            self._around.close()

    async def _lookup(self, maps: str, key: str) -> str | None:
        assert self._tables is not None
        return (await self._tables.call(Lookup(maps, key), expect=LookupResult)).value
