"""The process table: which processes exist, how many, as whom, and who may talk to whom.

SECURITY.md is written against this table and `tests/security` proves it. A link is a Unix socket owned by the client's
user: what is not listed here cannot be said.
"""

from typing import Final

from posthouse.runtime.schema import (
    AUTH_ADMIN,
    AUTH_DIRECTORY,
    AUTH_LOGIN,
    AUTH_USERDB,
    CONTROL,
    MAILBOX_ADMIN,
    MAILBOX_HANDOVER,
    QUEUE_ADMIN,
    QUEUE_DELIVERY,
    QUEUE_INTAKE,
    QUEUE_SHOW,
    TABLES,
)
from posthouse.runtime.spec import Jail, Link, ProcessSpec, Replacement, Workers

PROCESSES: Final = (
    ProcessSpec(
        "control",
        "posthouse.services.control:ControlProcess",
        "control_user",
        Workers.ONE,
        Jail.LOGS,
        Replacement.IN_PLACE,
        services=("postlog", "anvil", "stats", "log"),
    ),
    ProcessSpec(
        "auth",
        "posthouse.services.auth:AuthProcess",
        "auth_user",
        Workers.ONE,
        Jail.CREDENTIALS,
        Replacement.IN_PLACE,
        services=("auth", "auth-worker"),
        listens=("auth-client", "auth-userdb", "auth-master", "authdaemon"),
        links=(Link(CONTROL),),
    ),
    ProcessSpec(
        "tables",
        "posthouse.services.tables:TablesProcess",
        "tables_user",
        Workers.ONE,
        Jail.MAPS,
        Replacement.REPLACED,
        services=("proxymap", "proxywrite", "rewrite"),
        links=(Link(CONTROL), Link(AUTH_DIRECTORY)),
        connects=True,
    ),
    ProcessSpec(
        "queue",
        "posthouse.services.queue:QueueProcess",
        "mail_owner",
        Workers.ONE,
        Jail.SPOOL,
        Replacement.IN_PLACE,
        services=(
            "pickup",
            "cleanup",
            "qmgr",
            "bounce",
            "defer",
            "trace",
            "flush",
            "showq",
            "error",
            "retry",
            "discard",
        ),
        links=(Link(CONTROL), Link(TABLES), Link(AUTH_USERDB)),
    ),
    ProcessSpec(
        "mailbox",
        "posthouse.services.mailbox:MailboxProcess",
        "virtual_user",
        Workers.PER_CORE,
        Jail.STORE,
        Replacement.IN_PLACE,
        services=("virtual", "imap", "pop3", "lmtp"),
        links=(Link(CONTROL), Link(QUEUE_DELIVERY), Link(AUTH_USERDB)),
    ),
    ProcessSpec(
        "local",
        "posthouse.services.local:LocalProcess",
        "local_user",
        Workers.ONE,
        Jail.RECIPIENT,
        Replacement.REPLACED,
        services=("local", "pipe"),
        links=(Link(CONTROL), Link(QUEUE_DELIVERY)),
        keeps_root=True,
    ),
    ProcessSpec(
        "smtp",
        "posthouse.services.smtp:SmtpProcess",
        "smtp_user",
        Workers.PER_CORE,
        Jail.NETWORK_ONLY,
        Replacement.REPLACED,
        services=("smtp", "relay", "lmtp", "scache"),
        links=(Link(CONTROL), Link(QUEUE_DELIVERY), Link(TABLES)),
        connects=True,
    ),
    ProcessSpec(
        "smtpd",
        "posthouse.services.smtpd:SmtpdProcess",
        "smtpd_user",
        Workers.PER_CORE,
        Jail.NETWORK_ONLY,
        Replacement.REPLACED,
        services=("smtpd", "lmtp"),
        listens=("smtpd", "lmtpd"),
        links=(Link(CONTROL), Link(QUEUE_INTAKE), Link(TABLES), Link(AUTH_LOGIN)),
        connects=True,
    ),
    ProcessSpec(
        "login",
        "posthouse.services.login:LoginProcess",
        "login_user",
        Workers.PER_CORE,
        Jail.NETWORK_ONLY,
        Replacement.REPLACED,
        services=("imap-login", "pop3-login"),
        listens=("imap-login", "pop3-login"),
        links=(Link(CONTROL), Link(AUTH_LOGIN), Link(MAILBOX_HANDOVER)),
    ),
)

ROOT_ENDPOINTS: Final = (QUEUE_ADMIN, AUTH_ADMIN, MAILBOX_ADMIN)
"""What commands of root connect to (in a system of one user: of that user)."""
EVERYBODYS_ENDPOINTS: Final = (QUEUE_SHOW,)
"""What everybody's commands connect to."""


def process(name: str) -> ProcessSpec:
    return next(spec for spec in PROCESSES if spec.name == name)
