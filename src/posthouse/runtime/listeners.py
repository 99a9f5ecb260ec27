"""The network listeners that a configuration asks for: master.cf's inet entries and dovecot.conf's inet_listeners.

Master binds them (ports below 1024 need root) and children inherit them. All workers of a service share one listener:
the kernel spreads connections among those who wait for one, and a stopped worker costs nothing.
"""

import contextlib
import grp
import os
import pwd
import re
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from posthouse.config import dovecotconf, interfaces
from posthouse.config.configuration import Configuration, MasterEntry
from posthouse.config.parameter import Settings
from posthouse.config.parameters.general import INET_INTERFACES, INET_PROTOCOLS
from posthouse.config.parameters.login import LISTEN, PROTOCOLS, SSL
from posthouse.runtime.process import Listener

BACKLOG: Final = 4096
"""The kernel lowers it to net.core.somaxconn. A burst of connections should meet a queue, not a refusal."""
SERVICE_OF_COMMAND: Final = {"smtpd": "smtpd", "lmtpd": "lmtpd"}
_ENDPOINT: Final = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]:|(?P<host>[^:\[\]]+):)?(?P<port>[A-Za-z0-9_-]+)\Z")


@dataclass(frozen=True, slots=True)
class DefaultListener:
    port: int
    implicit_tls: bool


DOVECOT_LISTENERS: Final = {
    "imap-login": {"imap": DefaultListener(143, False), "imaps": DefaultListener(993, True)},
    "pop3-login": {"pop3": DefaultListener(110, False), "pop3s": DefaultListener(995, True)},
}
"""What Dovecot listens on without being told (services imap-login and pop3-login)."""


@dataclass(frozen=True, slots=True)
class UnixOptions:
    """Names of the socket's owner and group ("" for ours), and its mode."""

    user: str
    group: str
    mode: int


@dataclass(frozen=True, slots=True)
class ListenerPlan:
    """One address to bind. `key` is what makes it the same listener after a reload."""

    service: str
    name: str
    host: str
    port: int
    settings: Settings
    implicit_tls: bool
    at: str
    unix: "UnixOptions | None" = None
    """`host` is the path of a Unix socket then, and `port` 0."""

    @property
    def key(self) -> tuple[str, str, int]:
        return (self.service, self.host, self.port)

    @property
    def address(self) -> str:
        if self.unix is not None:
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class ListenError(Exception):
    """An address that cannot be listened on; the text names entry, address and reason."""


def plan(configuration: Configuration) -> tuple[ListenerPlan, ...]:
    """Every listener once, in the order of the files. Raises ListenError for a name or port nobody knows."""
    found: dict[tuple[str, int], ListenerPlan] = {}
    for one in (*_from_master(configuration), *_from_dovecot(configuration)):
        earlier = found.get((one.host, one.port))
        if earlier is not None:
            raise ListenError(f"{one.at}: {one.address} is already listened on by {earlier.name} ({earlier.at})")
        found[one.host, one.port] = one
    return tuple(found.values())


def _bind_unix(one: ListenerPlan, options: UnixOptions) -> socket.socket:
    """A socket that nobody but its owner could connect to at any moment; one that was left behind makes room."""
    try:
        uid = pwd.getpwnam(options.user).pw_uid if options.user else -1
        gid = grp.getgrnam(options.group).gr_gid if options.group else -1
    except KeyError as error:
        raise ListenError(f"{one.at}: no such user or group: {error.args[0]}") from error
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISSOCK(os.lstat(one.host).st_mode):
                raise ListenError(f"{one.at}: {one.host} is there, and is no socket")
            os.unlink(one.host)
        before = os.umask(0o777)
        try:
            sock.bind(one.host)
        finally:
            os.umask(before)
        if os.geteuid() == 0:
            os.chown(one.host, uid, gid, follow_symlinks=False)
        os.chmod(one.host, options.mode)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise ListenError(f"{one.at}: cannot listen on {one.host}: {error.strerror}") from error
    except ListenError:
        sock.close()
        raise
    return sock


AUTH_SOCKETS: Final = {
    "auth": "auth-client",
    "userdb": "auth-userdb",
    "master": "auth-master",
    "authdaemon": "authdaemon",
}
"""Types of the unix_listeners of `service auth`, and who answers there. Those of Dovecot's own login processes are no
business of others."""


def bind(one: ListenerPlan) -> socket.socket:
    if one.unix is not None:
        return _bind_unix(one, one.unix)
    family = socket.AF_INET6 if ":" in one.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((one.host, one.port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise ListenError(f"{one.at}: cannot listen on {one.address}: {error.strerror}") from error
    return sock


def take(sock: socket.socket) -> socket.socket:
    """Listen on a socket that was bound before (a copy: after a reload without this listener it may come back)."""
    sock.listen(BACKLOG)
    return sock.dup()


def listener(one: ListenerPlan, sock: socket.socket) -> Listener:
    return Listener(one.service, one.name, sock, one.settings, one.implicit_tls)


# ── master.cf ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _from_master(configuration: Configuration) -> Iterator[ListenerPlan]:
    for entry in configuration.master:
        service = SERVICE_OF_COMMAND.get(entry.command)
        if entry.kind != "inet" or service is None:
            continue
        settings = configuration.main.overlay({**entry.options, "service_name": entry.endpoint})
        implicit_tls = settings.raw_text_or_none("smtpd_tls_wrappermode") == "yes"
        hosts, port = _endpoint(entry, settings)
        for host in hosts:
            yield ListenerPlan(service, entry.endpoint, host, port, settings, implicit_tls, entry.at)


def _endpoint(entry: MasterEntry, settings: Settings) -> tuple[list[str], int]:
    match = _ENDPOINT.match(entry.endpoint)
    if match is None:
        raise ListenError(f"{entry.at}: {entry.endpoint} is neither a port nor host:port")
    host = match["six"] or match["host"] or ""
    port = _port(match["port"], entry.at)
    return (_addresses(host, entry.at) if host else _interfaces(settings, entry.at)), port


def _port(text: str, at: str) -> int:
    if text.isdecimal():
        port = int(text)
    else:
        try:
            port = socket.getservbyname(text, "tcp")
        except OSError:
            fallback = {"smtp": 25, "submission": 587, "submissions": 465, "smtps": 465}.get(text)
            if fallback is None:
                raise ListenError(f"{at}: nobody knows the port of {text}; write its number") from None
            port = fallback
    if not 0 < port < 65536:
        raise ListenError(f"{at}: {port} is no port")
    return port


def _addresses(host: str, at: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise ListenError(f"{at}: {host}: {error.strerror}") from error
    return list(dict.fromkeys(str(one[4][0]) for one in found))


def _interfaces(settings: Settings, at: str) -> list[str]:
    wanted = [word.lower() for word in settings[INET_INTERFACES]]
    protocols = {word.lower() for word in settings[INET_PROTOCOLS]}
    versions = [version for version in (4, 6) if "all" in protocols or f"ipv{version}" in protocols]
    if "all" in wanted:
        hosts = ["0.0.0.0" if version == 4 else "::" for version in versions]
    elif "loopback-only" in wanted:
        hosts = ["127.0.0.1" if version == 4 else "::1" for version in versions]
    else:
        found = [address for word in wanted for address in _addresses(word.strip("[]"), at)]
        hosts = [host for host in dict.fromkeys(found) if (6 if ":" in host else 4) in versions]
    return [host for host in hosts if ":" not in host or _has_ipv6(host)]


def _has_ipv6(host: str) -> bool:
    """With the kernel's IPv6 switched off, "all" means what there is."""
    if not socket.has_ipv6:
        return False
    if host == "::":
        return any(one.version == 6 for one in interfaces.addresses())
    return True


# ── dovecot.conf ────────────────────────────────────────────────────────────────────────────────────────────────────


def _from_dovecot(configuration: Configuration) -> Iterator[ListenerPlan]:
    settings = configuration.dovecot
    yield from _auth_sockets(settings)
    protocols = {word.lower() for word in settings[PROTOCOLS]}
    offers_tls = settings[SSL] != "no"
    for service, defaults in DOVECOT_LISTENERS.items():
        if service.removesuffix("-login") not in protocols:
            continue
        explicit = dict(dovecotconf.blocks(settings.values, f"service/{service}/inet_listener"))
        for name in dict.fromkeys([*defaults, *explicit]):
            inside = explicit.get(name, {})
            default = defaults.get(name, DefaultListener(0, False))
            port = int(inside.get("port", default.port))
            implicit_tls = inside.get("ssl", "yes" if default.implicit_tls else "no") == "yes"
            if port == 0 or (implicit_tls and not offers_tls):
                continue
            at = f"service {service} inet_listener {name}"
            addresses = tuple(inside.get("address", "").replace(",", " ").split())
            own = settings.overlay(dovecotconf.for_protocol(settings.values, service.removesuffix("-login")))
            for host in _listen_addresses(addresses or settings[LISTEN], at):
                yield ListenerPlan(service, name, host, port, own, implicit_tls, at)


def _auth_sockets(settings: Settings) -> Iterator[ListenerPlan]:
    """unix_listeners of `service auth`, for servers of others. A name without a path is in base_dir."""
    for name, inside in dovecotconf.blocks(settings.values, "service/auth/unix_listener"):
        at = f"service auth unix_listener {name}"
        kind = inside.get("type") or _kind_of_auth_socket(name)
        if kind not in AUTH_SOCKETS:
            continue
        try:
            mode = int(inside.get("mode", "0666" if kind == "userdb" else "0600"), 8)
        except ValueError:
            raise ListenError(f"{at}: mode = {inside['mode']} is no octal number") from None
        if mode == 0:
            continue  # Dovecot's way to switch a listener off
        path = name if name.startswith("/") else f"{settings.raw_text('base_dir')}/{name}"
        options = UnixOptions(inside.get("user", ""), inside.get("group", ""), mode)
        if not name.startswith("/"):
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        yield ListenerPlan(AUTH_SOCKETS[kind], name, path, 0, settings, False, at, options)


def _kind_of_auth_socket(name: str) -> str:
    """As Dovecot: the last word of the name says what is spoken there. Courier's socket has a fixed path."""
    if re.search(r"(?:\A|/)authdaemon(?:/socket)?\Z", name):
        return "authdaemon"
    last = name.rpartition("/")[2].rpartition("-")[2]
    return last if last in ("userdb", "master", "login", "token", "authdaemon") else "auth"


def _listen_addresses(words: tuple[str, ...], at: str) -> list[str]:
    hosts: list[str] = []
    for word in words:
        if word == "*":
            hosts.append("0.0.0.0")
        elif word in ("::", "[::]"):
            hosts.append("::")
        else:
            hosts.extend(_addresses(word.strip("[]"), at))
    return [host for host in dict.fromkeys(hosts) if ":" not in host or _has_ipv6(host)]
