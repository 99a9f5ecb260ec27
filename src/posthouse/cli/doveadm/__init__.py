"""NAME
    doveadm - what Dovecot's administrators type daily
SYNOPSIS
    doveadm [-Dv] [-f flow|tab|table|pager|json] [-c DIR|dovecot.conf] COMMAND [arguments]
DESCRIPTION
    The commands, options, output and exit statuses are those of Dovecot 2.3; "doveadm help" lists them and names what
    is missing. Commands on mail take -u USER (with * and ? several), -A for all users or -F FILE for those of a file;
    else the user of the environment variable USER is meant.

    A user's mail has one writer, the mailbox process: commands on mail open a session there (without a password, with
    a ticket of auth) and speak IMAP. So the system has to be running, except for pw, mailbox mutf7, log find and help.
SECURITY
    The sockets this command uses belong to root; in a system that runs without root, to its user.
EXIT STATUS
    0; 64 usage, 65 exists already, 67 no such user, 68 no such mailbox or session, 75 try later (the system is stopped,
    a database is down), 77 a wrong password, or not permitted.
SEE ALSO
    posthouse(1), docs/doveadm.md
"""

import sys
from collections.abc import Sequence


def main() -> None:
    """The console script."""
    sys.exit(run("", sys.argv[1:]))


def run(directory: str, arguments: Sequence[str]) -> int:
    """`directory` is the configuration's, if it is known already."""
    # Imported late: "posthouse" lists its commands without reading all of them.
    from posthouse.cli.doveadm.command import execute

    return execute(directory, arguments)
