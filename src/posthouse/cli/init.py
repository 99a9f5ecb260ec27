"""NAME
    posthouse init - system users, directories and a default configuration
SYNOPSIS
    posthouse [-c DIR] init --type internet|smarthost|satellite|local|none [--mailname D] [--relayhost H]
        [--link DIR] [--root PREFIX]
DESCRIPTION
    internet    receives and sends by SMTP itself
    smarthost   receives by SMTP, sends everything through --relayhost
    satellite   sends everything, local mail too, through --relayhost
    local       mail among the users of this machine only
    none        users and directories, but no configuration

    What exists is kept: files are never overwritten, users and directories only made or mended. --mailname is the
    domain behind the @ of this machine's users (default: the host's name). --link makes symbolic links to all commands
    in DIR. --root puts everything below PREFIX and makes no users (packages, tests).
DIAGNOSTICS
    Status 0 when the system could be started now; each thing made is printed on a line of its own.
"""

import argparse
import os
import pwd
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from posthouse.cli.layout import make_places, unreadable_code
from posthouse.config.loading import load
from posthouse.runtime.certificate_files import CertificateFiles
from posthouse.runtime.certificates import make
from posthouse.runtime.privileges import USER_PARAMETERS, Identity, NoSuchSystemUser, identities
from posthouse.services.table import PROCESSES

TYPES: Final = ("internet", "smarthost", "satellite", "local", "none")
COMMANDS: Final = (
    "posthouse",
    "sendmail",
    "mailq",
    "newaliases",
    "postqueue",
    "postsuper",
    "postcat",
    "postconf",
    "doveadm",
)
_NO_SHELL: Final = "/usr/sbin/nologin"
_VMAIL_HOME: Final = "/var/vmail"

_MASTER: Final = """\
# master.cf(5). What smtpd answers on, and the names of the transports; all other services are provided inside
# Posthouse's processes whether they stand here or not.
#
# service   type  private unpriv  chroot  wakeup  maxproc command
smtp        inet  n       -       n       -       -       smtpd
{submission}submission  inet  n       -       n       -       -       smtpd
{submission}    -o syslog_name=postfix/submission
{submission}    -o smtpd_tls_security_level=encrypt
{submission}    -o smtpd_sasl_auth_enable=yes
{submission}    -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
{submission}submissions inet  n       -       n       -       -       smtpd
{submission}    -o syslog_name=postfix/submissions
{submission}    -o smtpd_tls_wrappermode=yes
{submission}    -o smtpd_sasl_auth_enable=yes
{submission}    -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
smtp        unix  -       -       n       -       -       smtp
relay       unix  -       -       n       -       -       smtp
lmtp        unix  -       -       n       -       -       lmtp
local       unix  -       n       n       -       -       local
virtual     unix  -       n       n       -       -       virtual
error       unix  -       -       n       -       -       error
retry       unix  -       -       n       -       -       error
discard     unix  -       -       n       -       -       discard
"""

_DOVECOT: Final = """\
# dovecot.conf: reading mail. Accounts are those of "posthouse user".
protocols = {protocols}
ssl = yes
ssl_cert = <{tls.certificate}
ssl_key = <{tls.key}
mail_home = {vmail}/%d/%n
mail_location = maildir:~/Maildir
"""

_ALIASES: Final = """\
# aliases(5); "newaliases" makes changes known.
postmaster: root
mailer-daemon: postmaster
"""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the command line asks for. `prefix` is "" for the machine itself."""

    kind: str
    mailname: str
    relayhost: str
    prefix: str
    directory: Path

    def path(self, path: str) -> str:
        return f"{self.prefix}{path}"


def run(configuration_directory: str, words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="posthouse init", description="System users, directories, a default configuration."
    )
    parser.add_argument("--type", choices=TYPES, required=True)
    parser.add_argument("--mailname", metavar="D", help="the domain behind the @ of this machine's users")
    parser.add_argument("--relayhost", metavar="H", default="", help="host, [host] or [host]:port")
    parser.add_argument("--link", metavar="DIR", help="make links to all commands there")
    parser.add_argument("--root", metavar="PREFIX", default="", help="put everything below PREFIX, make no users")
    options = parser.parse_args(words)
    if options.type in ("smarthost", "satellite") and not options.relayhost:
        parser.error(f"--type {options.type} needs --relayhost")
    if os.geteuid() != 0 and not options.root:
        print("posthouse init: only root can make system users and directories (or give --root)", file=sys.stderr)
        return 1
    prefix = str(Path(options.root).absolute()) if options.root else ""
    wish = Wish(
        options.type,
        options.mailname or _host_name(),
        options.relayhost,
        prefix,
        Path(prefix + str(Path(configuration_directory).absolute())),
    )
    for line in _make(wish, options.link):
        print(line)
    if not prefix and (blocking := unreadable_code()):
        print(
            f"posthouse init: the service users cannot read {blocking}, which leads to the program's own files; start"
            " will refuse. Install under /opt/posthouse.",
            file=sys.stderr,
        )
        return 1
    return 0


def _host_name() -> str:
    try:
        mailname = Path("/etc/mailname").read_text().strip()
    except OSError:
        mailname = ""
    return mailname or socket.getfqdn()


def _make(wish: Wish, link: str | None) -> Iterator[str]:
    wish.directory.mkdir(parents=True, exist_ok=True)
    if wish.kind != "none":
        yield from _write_configuration(wish)
    configuration = load(str(wish.directory))
    found: dict[str, Identity] = {}
    if not wish.prefix:
        for parameter in dict.fromkeys(spec.user for spec in PROCESSES):
            yield from _make_user(configuration.main[USER_PARAMETERS[parameter]])
        try:
            found = identities(configuration.main, PROCESSES)
        except NoSuchSystemUser as error:
            print(f"posthouse init: {error}", file=sys.stderr)
            raise SystemExit(1) from error
    if wish.kind != "none" or not wish.prefix:
        yield from make_places(configuration, found)
    if link:
        yield from _link(Path(link))


def _make_user(name: str) -> Iterator[str]:
    try:
        pwd.getpwnam(name)
        return
    except KeyError:
        pass
    home = _VMAIL_HOME if name == "vmail" else "/nonexistent"
    useradd = shutil.which("useradd", path="/usr/sbin:/sbin:/usr/bin")
    if useradd is None:
        print(f"posthouse init: there is no useradd; make the system user {name} yourself", file=sys.stderr)
        raise SystemExit(1)
    # Fixed program and arguments; `name` is a value of main.cf, an argument of its own.
    subprocess.run(  # noqa: S603
        [
            *(useradd, "--system", "--user-group", "--no-create-home", "--home-dir", home),
            *("--shell", _NO_SHELL, "--comment", "Posthouse mail system", "--", name),
        ],
        check=True,
    )
    yield f"made the system user {name}"


def _write_configuration(wish: Wish) -> Iterator[str]:
    tls_directory = wish.directory / "tls"
    tls = CertificateFiles.within(tls_directory)
    if not tls.exist():
        make(tls_directory, (socket.getfqdn(), wish.mailname, "localhost"))
        yield f"made a certificate of our own in {tls_directory}; replace it with one that clients know"
    receives = wish.kind in ("internet", "smarthost")
    files = {
        wish.directory / "main.cf": _main(wish, tls),
        wish.directory / "master.cf": _MASTER.format(submission="" if receives else "#"),
        wish.directory / "dovecot.conf": _DOVECOT.format(
            protocols="imap pop3" if receives else "", tls=tls, vmail=wish.path(_VMAIL_HOME)
        ),
        Path(wish.path("/etc/aliases")): _ALIASES,
        Path(wish.path("/etc/mailname")): f"{wish.mailname}\n",
    }
    for path, text in files.items():
        if path.exists():
            yield f"kept {path}"
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        yield f"made {path}"


def _main(wish: Wish, tls: CertificateFiles) -> str:
    receives = wish.kind in ("internet", "smarthost")
    values: dict[str, str] = {"compatibility_level": "3.6", "myorigin": wish.path("/etc/mailname")}
    if wish.kind == "satellite":
        values["mydestination"] = ""
    else:
        # A domain that is added to the directory belongs to its accounts, not to the machine's users any more.
        values["mydestination"] = f"!directory:domains, {wish.mailname}, $myhostname, localhost.$mydomain, localhost"
    values["relayhost"] = wish.relayhost
    values["mynetworks"] = "127.0.0.0/8 [::1]/128"
    values["inet_interfaces"] = "all" if receives else "loopback-only"
    values["recipient_delimiter"] = "+"
    values["alias_maps"] = values["alias_database"] = f"hash:{wish.path('/etc/aliases')}"
    if wish.kind == "local":
        values["default_transport"] = "error:this machine delivers to its own users only"
    if wish.kind != "satellite":
        values["virtual_mailbox_domains"] = "directory:domains"
        values["virtual_mailbox_maps"] = "directory:accounts"
        values["virtual_alias_maps"] = "directory:aliases"
        values["virtual_mailbox_base"] = wish.path(_VMAIL_HOME)
    values["smtpd_tls_security_level"] = "may"
    values["smtpd_tls_cert_file"] = str(tls.certificate)
    values["smtpd_tls_key_file"] = str(tls.key)
    values["smtp_tls_security_level"] = "may"
    values["maillog_file"] = wish.path("/var/log/mail.log")
    values["maillog_file_permissions"] = "0640"
    if wish.prefix:
        values["maillog_file_prefixes"] = wish.prefix
        values["queue_directory"] = wish.path("/var/spool/posthouse")
        values["data_directory"] = wish.path("/var/lib/posthouse")
        values["run_directory"] = wish.path("/run/posthouse")
        values["mail_spool_directory"] = wish.path("/var/mail")
    head = f"# main.cf(5), made by posthouse init --type {wish.kind}. docs/parameters.md has all parameters.\n"
    return head + "".join(f"{name} = {value}".rstrip() + "\n" for name, value in values.items())


def _link(directory: Path) -> Iterator[str]:
    source = Path(sys.executable).parent
    directory.mkdir(parents=True, exist_ok=True)
    for name in COMMANDS:
        target, link = source / name, directory / name
        if not target.exists():
            continue
        if link.is_symlink() and link.readlink() == target:
            continue
        if link.exists() or link.is_symlink():
            print(f"posthouse init: {link} exists and is not ours; not linked", file=sys.stderr)
            continue
        link.symlink_to(target)
        yield f"linked {link}"
