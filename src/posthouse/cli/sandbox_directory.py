"""What a sandbox keeps in its directory: configuration, ports, accounts, certificate, spool, mail and log.

    etc/ main.cf master.cf dovecot.conf aliases      log/ mail.log mail.err      sandbox.json   ports and accounts
    tls/ ca.pem cert.pem key.pem                     spool/ data/ run/ vmail/ mail/

A second start on the same directory finds everything as it was; changes made by hand to etc/ stay.
"""

import contextlib
import json
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from posthouse.config import editing, mastercf
from posthouse.config.configuration import MasterEntry, Problem
from posthouse.runtime.certificate_files import CertificateFiles, make_in_child
from posthouse.runtime.sockets import DIRECTORY_MODE, MAX_PATH_OCTETS

_LONGEST_SOCKET_NAME: Final = len("/mailbox.255/directory.mailbox")
LOOPBACK: Final = "127.0.0.1"
DEFAULT_DOMAIN: Final = "example.test"
DEFAULT_NAMES: Final = ("alice", "bob")
SMTP_ENDPOINTS: Final = ("smtp", "submission", "submissions", "lmtp")
DOVECOT_ENDPOINTS: Final = {
    "imap": "imap-login",
    "imaps": "imap-login",
    "pop3": "pop3-login",
    "pop3s": "pop3-login",
}
ENDPOINTS: Final = (*SMTP_ENDPOINTS, *DOVECOT_ENDPOINTS)
_ENDPOINT_OF: Final = {
    "smtp": "smtp",
    "25": "smtp",
    "submission": "submission",
    "587": "submission",
    "submissions": "submissions",
    "smtps": "submissions",
    "465": "submissions",
}

_MASTER: Final = """\
# service type private unpriv chroot wakeup maxproc command
{smtp} inet n - n - - smtpd
{submission} inet n - n - - smtpd
    -o syslog_name=postfix/submission
    -o smtpd_tls_security_level=may
    -o smtpd_sasl_auth_enable=yes
    -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
{submissions} inet n - n - - smtpd
    -o syslog_name=postfix/submissions
    -o smtpd_tls_wrappermode=yes
    -o smtpd_sasl_auth_enable=yes
    -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
{lmtp} inet n - n - - lmtpd
"""

_DOVECOT: Final = """\
protocols = imap pop3
listen = {loopback}
ssl = yes
ssl_cert = <{tls.certificate}
ssl_key = <{tls.key}
mail_home = {directory}/vmail/%d/%n
mail_location = maildir:{directory}/vmail/%d/%n/Maildir
service imap-login {{
  inet_listener imap {{
    port = {ports[imap]}
  }}
  inet_listener imaps {{
    port = {ports[imaps]}
    ssl = yes
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {ports[pop3]}
  }}
  inet_listener pop3s {{
    port = {ports[pop3s]}
    ssl = yes
  }}
}}
"""

_ALIASES: Final = """\
# aliases(5); "newaliases" makes them known.
postmaster: root
mailer-daemon: postmaster
"""


class SandboxError(Exception):
    """The sandbox cannot be made as asked; the text says why."""


class Account(msgspec.Struct):
    user: str
    password: str


class State(msgspec.Struct):
    """sandbox.json."""

    domain: str = DEFAULT_DOMAIN
    ports: dict[str, int] = {}
    accounts: list[Account] = []
    run_directory: str = ""
    """Where the sockets are, if the path of the sandbox is too long for them."""


@dataclass
class SandboxDirectory:
    """`sockets` are bound already, so that nobody takes a port between choosing and listening."""

    path: Path
    state: State
    sockets: dict[tuple[str, int], socket.socket] = field(default_factory=dict)
    dovecot_overrides: dict[str, str] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, domain: str | None) -> "SandboxDirectory":
        path = path.absolute()
        path.mkdir(parents=True, exist_ok=True, mode=0o755)
        state_path = path / "sandbox.json"
        state = State()
        if state_path.exists():
            try:
                state = msgspec.json.decode(state_path.read_bytes(), type=State)
            except msgspec.MsgspecError as error:
                raise SandboxError(f"{state_path}: {error}; remove it to begin anew") from error
        if domain:
            state.domain = domain
        for one in ("etc", "log", "tls", "mail"):
            (path / one).mkdir(exist_ok=True)
        (path / "mail").chmod(0o1777)
        return cls(path, state)

    @property
    def etc(self) -> Path:
        return self.path / "etc"

    @property
    def tls(self) -> CertificateFiles:
        return CertificateFiles.within(self.path / "tls")

    def save(self) -> None:
        state_path = self.path / "sandbox.json"
        temporary = state_path.with_suffix(".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(self.state)))
        temporary.replace(state_path)

    # ── accounts ──

    def choose_accounts(self, given: Iterable[tuple[str, str]]) -> list[Account]:
        """Accounts to make or change now: those given, or at the first start two with a password nobody else knows."""
        wanted = [Account(f"{name}@{self.state.domain}", password) for name, password in given]
        if not wanted and not self.state.accounts:
            wanted = [Account(f"{name}@{self.state.domain}", secrets.token_hex(4)) for name in DEFAULT_NAMES]
        known = {one.user: one for one in self.state.accounts}
        changed = [one for one in wanted if known.get(one.user) != one]
        known.update((one.user, one) for one in wanted)
        self.state.accounts = list(known.values())
        return changed

    # ── ports ──

    def choose_ports(self, given: Mapping[str, int]) -> None:
        """The given ones, those of the last time if they are still free, else free ones."""
        for name in ENDPOINTS:
            earlier = self.state.ports.get(name, 0)
            if name in given:
                sock = _bind(given[name])
                if sock is None:
                    raise SandboxError(f"port {given[name]} for {name} is in use")
            else:
                sock = (_bind(earlier) if earlier else None) or _bind(0)
            if sock is None:
                raise SandboxError("no free port on the loopback interface")
            port = sock.getsockname()[1]
            self.state.ports[name] = port
            self.sockets[LOOPBACK, port] = sock

    def address(self, name: str) -> str:
        return f"{LOOPBACK}:{self.state.ports[name]}"

    # ── configuration ──

    def _make_certificate(self) -> None:
        names = (f"mail.{self.state.domain}", self.state.domain, "localhost", LOOPBACK)
        if not self.tls.exist() and not make_in_child(self.path / "tls", names):
            raise SandboxError(f"cannot make a certificate in {self.path / 'tls'}")

    def write_configuration(self, overrides: Mapping[str, str]) -> None:
        self._make_certificate()
        main = self.etc / "main.cf"
        if not main.exists():
            main.write_text("# Made by posthouse sandbox. Changes stay; --set writes here, too.\n")
            self._set_main({**self._base_parameters(), **self._own_parameters(), **overrides})
        else:
            self._set_main({**self._own_parameters(), **overrides})
        aliases = self.etc / "aliases"
        if not aliases.exists():
            aliases.write_text(_ALIASES)
        addresses = {name: self.address(name) for name in SMTP_ENDPOINTS}
        (self.etc / "master.cf").write_text(_MASTER.format(**addresses))
        (self.etc / "dovecot.conf").write_text(
            _DOVECOT.format(loopback=LOOPBACK, tls=self.tls, directory=self.path, ports=self.state.ports)
        )

    def take_configuration(self, source: Path, overrides: Mapping[str, str]) -> list[str]:
        """Run somebody's configuration here: a copy with our directories, loopback ports and nothing else changed: mail
        that is tried out must not reach the real mailboxes. Returns the endpoints it has."""
        if not (source / "main.cf").is_file():
            raise SandboxError(f"there is no main.cf in {source}")
        shutil.copytree(source, self.etc, dirs_exist_ok=True)
        self._make_certificate()
        own = {**self._own_parameters(), "mail_spool_directory": f"{self.path}/mail"}
        own["virtual_mailbox_base"] = f"{self.path}/vmail"
        self._set_main({**own, **overrides})
        found: list[str] = []
        master = self.etc / "master.cf"
        text = master.read_text() if master.exists() else ""
        problems: list[Problem] = []
        for entry in mastercf.parse(text, str(master), problems):
            if entry.kind == "inet" and (name := self._endpoint_of(entry)):
                if name in found:  # a second listener of the same kind: one is enough to try it out
                    text = editing.comment_out_master(text, (entry.endpoint, entry.kind))
                    continue
                found.append(name)
                moved = msgspec.structs.replace(entry, endpoint=self.address(name))
                text = editing.set_master(text, (entry.endpoint, entry.kind), moved)
        master.write_text(text)
        self.dovecot_overrides = {
            "dovecot/listen": LOOPBACK,
            "dovecot/mail_home": f"{self.path}/vmail/%d/%n",
            "dovecot/mail_location": f"maildir:{self.path}/vmail/%d/%n/Maildir",
        }
        dovecot = self.etc / "dovecot.conf"
        if not dovecot.exists() or "ssl_cert" not in dovecot.read_text(errors="replace"):
            self.dovecot_overrides["dovecot/ssl_cert"] = f"<{self.tls.certificate}"
            self.dovecot_overrides["dovecot/ssl_key"] = f"<{self.tls.key}"
        for name, service in DOVECOT_ENDPOINTS.items():
            prefix = f"dovecot/service/{service}/inet_listener/{name}"
            self.dovecot_overrides[f"{prefix}/port"] = str(self.state.ports[name])
            self.dovecot_overrides[f"{prefix}/address"] = LOOPBACK
        return [*found, *DOVECOT_ENDPOINTS]

    def _endpoint_of(self, entry: MasterEntry) -> str | None:
        if entry.command == "lmtpd":
            return "lmtp"
        if entry.command != "smtpd":
            return None
        return _ENDPOINT_OF.get(entry.endpoint.rpartition(":")[2])

    def _set_main(self, values: Mapping[str, str]) -> None:
        main = self.etc / "main.cf"
        main.write_text(editing.set_main(main.read_text(errors="surrogateescape"), values), errors="surrogateescape")

    def _run_directory(self) -> str:
        """run/ in here, unless that makes names of sockets longer than the kernel takes: then a short one in /tmp, the
        same at every start, because the lock that keeps two systems apart is there."""
        own = str(self.path / "run")
        if len(os.fsencode(own)) + _LONGEST_SOCKET_NAME <= MAX_PATH_OCTETS:
            return own
        known = Path(self.state.run_directory) if self.state.run_directory else None
        if known is None or not known.is_dir() or known.is_symlink() or known.stat().st_uid != os.geteuid():
            known = Path(tempfile.mkdtemp(prefix="posthouse-"))
            known.chmod(DIRECTORY_MODE)
            self.state.run_directory = str(known)
            self.save()
        return str(known)

    def _own_parameters(self) -> dict[str, str]:
        """What keeps this system inside its directory and on the loopback interface."""
        directory = str(self.path)
        return {
            "queue_directory": f"{directory}/spool",
            "data_directory": f"{directory}/data",
            "run_directory": self._run_directory(),
            "maillog_file": f"{directory}/log/mail.log",
            "maillog_file_prefixes": directory,
            "inet_interfaces": LOOPBACK,
            "inet_protocols": "ipv4",
        }

    def _base_parameters(self) -> dict[str, str]:
        """A small mail system: one domain of accounts in the embedded directory, and the machine's own users."""
        directory, domain = str(self.path), self.state.domain
        return {
            "compatibility_level": "3.6",
            "myhostname": f"mail.{domain}",
            "mydomain": domain,
            "myorigin": "$mydomain",
            "mydestination": "localhost, localhost.localdomain",
            "mynetworks": "127.0.0.0/8 [::1]/128",
            "virtual_mailbox_domains": "directory:domains",
            "virtual_mailbox_maps": "directory:accounts",
            "virtual_alias_maps": "directory:aliases",
            "virtual_mailbox_base": f"{directory}/vmail",
            "mail_spool_directory": f"{directory}/mail",
            "alias_maps": f"hash:{directory}/etc/aliases",
            "alias_database": f"hash:{directory}/etc/aliases",
            "recipient_delimiter": "+",
            "smtpd_peername_lookup": "no",
            "smtpd_tls_security_level": "may",
            "smtpd_tls_cert_file": str(self.tls.certificate),
            "smtpd_tls_key_file": str(self.tls.key),
        }

    # ── facts ──

    def facts(self, endpoints: Iterable[str], mail_location: str) -> dict[str, object]:
        """What --json prints and --exec puts into the environment."""
        return {
            "pid": os.getpid(),
            "dir": str(self.path),
            "domain": self.state.domain,
            "accounts": [{"user": one.user, "password": one.password} for one in self.state.accounts],
            **{name: self.address(name) for name in endpoints},
            "mail_log": str(self.path / "log/mail.log"),
            "mail_location": mail_location,
            "ca_file": str(self.tls.authority),
        }


def environment(facts: Mapping[str, object]) -> dict[str, str]:
    """POSTHOUSE_SMTP and so on; the first account also as POSTHOUSE_USER and POSTHOUSE_PASSWORD."""
    found = {f"POSTHOUSE_{name.upper()}": value for name, value in facts.items() if isinstance(value, str)}
    found["POSTHOUSE_PID"] = str(facts["pid"])
    found["POSTHOUSE_CONFIG"] = f"{facts['dir']}/etc"
    accounts = facts["accounts"]
    assert isinstance(accounts, list)
    found["POSTHOUSE_ACCOUNTS"] = json.dumps(accounts)
    if accounts:
        found["POSTHOUSE_USER"] = accounts[0]["user"]
        found["POSTHOUSE_PASSWORD"] = accounts[0]["password"]
    return found


def _bind(port: int) -> socket.socket | None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with contextlib.suppress(OSError):
        sock.bind((LOOPBACK, port))
        # Listening at once: SO_REUSEADDR alone would let two sandboxes bind the same port.
        sock.listen(1)
        return sock
    sock.close()
    return None
