"""Where SMTP clients' passwords are checked, if not here: smtpd_sasl_type and smtpd_sasl_path.

A configuration that comes from Postfix with Dovecot names the socket that its Dovecot made; where dovecot.conf makes
the same socket, that Dovecot is us.
"""

import os

from posthouse.config.configuration import Configuration
from posthouse.config.dovecotconf import blocks
from posthouse.config.parameters.general import QUEUE_DIRECTORY
from posthouse.config.parameters.smtpd import SMTPD_SASL_PATH, SMTPD_SASL_TYPE


def foreign_auth_place(configuration: Configuration) -> str:
    """ "/path" or "inet:host:port" of a foreign Dovecot; "" if it is our own auth process."""
    main = configuration.main
    path = main[SMTPD_SASL_PATH]
    if not path or main[SMTPD_SASL_TYPE] != "dovecot":
        return ""
    if path.startswith("inet:"):
        return path
    path = path.removeprefix("unix:")
    full = path if path.startswith("/") else os.path.join(main[QUEUE_DIRECTORY], path)
    for name, inside in blocks(configuration.dovecot.values, "service/auth/unix_listener"):
        ours = name if name.startswith("/") else f"{configuration.dovecot.raw_text('base_dir')}/{name}"
        # The other queue directory: private/auth is the socket of that name, wherever the queue lies.
        if inside.get("mode") != "0" and (ours == full or (not path.startswith("/") and ours.endswith(f"/{path}"))):
            return ""
    return full


def auth_socket(configuration: Configuration) -> str:
    """The Unix socket of a foreign auth server; "" for none."""
    place = foreign_auth_place(configuration)
    return place if place.startswith("/") else ""
