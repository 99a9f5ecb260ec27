"""All declarations, one module per area; importing this package fills the registries."""

from posthouse.config.parameters import (
    access,
    auth,
    auth_policy,
    general,
    intake,
    local,
    login,
    mailbox,
    master,
    queue,
    smtp,
    smtpd,
    tables,
)

__all__ = [
    "access",
    "auth",
    "auth_policy",
    "general",
    "intake",
    "local",
    "login",
    "mailbox",
    "master",
    "queue",
    "smtp",
    "smtpd",
    "tables",
]
