"""NAME
    posthouse run - a whole system to try out, in ./run
SYNOPSIS
    posthouse run [options of posthouse sandbox]
DESCRIPTION
    A sandbox that stays in ./run (or --dir), sends a first message through itself, prints where everything is and how
    to try it, and follows the log until Ctrl-C. The next run goes on with the same data.
"""

import argparse
import contextlib
import json
import os
import signal
import smtplib
import subprocess
import sys
import time
from collections.abc import Sequence
from email.message import EmailMessage
from pathlib import Path
from typing import Final

from posthouse.cli import sandbox
from posthouse.cli.sandbox_directory import SandboxError

DIRECTORY: Final = "run"
_FOLLOW_S: Final = 0.2
_TRY: Final = """
  Send:  swaks --server {smtp} --to {user} --header 'Subject: hello'
  Read:  curl --user {user}:{password} 'imap://{imap}/INBOX;MAILINDEX=1'
  Stop:  Ctrl-C; the next "make run" goes on with the same data.
"""


def run(_: str, words: Sequence[str]) -> int:
    if list(words[:1]) == ["--follow"]:  # the second process, started below
        return _accompany(json.load(sys.stdin), begin=int(words[1]), greet=words[2] == "greet")
    parser = argparse.ArgumentParser(prog="posthouse run", description="A mail system to try out.")
    sandbox.add_arguments(parser)
    arguments = parser.parse_args(words)
    directory = Path(arguments.dir or DIRECTORY)
    log = directory / "log/mail.log"
    begin = log.stat().st_size if log.exists() else 0
    greet = not begin

    def accompany(facts: sandbox.Facts) -> "subprocess.Popen[bytes]":
        command = [sys.executable, "-m", "posthouse.cli.posthouse", "run", "--follow", str(begin)]
        # The facts hold passwords: not as arguments, which everybody on the machine can read.
        follower = subprocess.Popen([*command, "greet" if greet else "return"], stdin=subprocess.PIPE)  # noqa: S603 - ourselves
        assert follower.stdin is not None
        with contextlib.suppress(BrokenPipeError), follower.stdin as pipe:  # that it ended is noticed anyway
            pipe.write(json.dumps(facts).encode())
        return follower

    try:
        return sandbox.run_with(directory, arguments, on_facts=None, inside=accompany)
    except SandboxError as error:
        print(f"posthouse run: {error}", file=sys.stderr)
        return 1


def _accompany(facts: sandbox.Facts, *, begin: int, greet: bool) -> int:
    """Send the first message, print the table, follow the log. Ends with master."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for master, which then ends this process
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    if greet:
        _send_first_message(facts)
    accounts = facts["accounts"]
    assert isinstance(accounts, list)
    print(f"\nPosthouse is running.\n\n{sandbox.table(facts)}")
    print(_TRY.format(smtp=facts["smtp"], imap=facts["imap"], **accounts[0]), flush=True)
    with open(str(facts["mail_log"]), errors="replace") as log:
        log.seek(begin)
        while os.getppid() == facts["pid"]:
            lines = log.read()
            if lines:
                sys.stdout.write(lines)
                sys.stdout.flush()
            else:
                time.sleep(_FOLLOW_S)
    return 0


def _send_first_message(facts: sandbox.Facts) -> None:
    accounts = facts["accounts"]
    assert isinstance(accounts, list)
    message = EmailMessage()
    message["From"] = f"Posthouse <postmaster@{facts['domain']}>"
    message["To"] = accounts[0]["user"]
    message["Subject"] = "Welcome to Posthouse · 驿站"
    message.set_content("This message came in by SMTP, went through the journal and lies in your Maildir.\n")
    host, _, port = str(facts["smtp"]).rpartition(":")
    try:
        with smtplib.SMTP(host, int(port), timeout=10) as client:
            client.send_message(message)
    except (OSError, smtplib.SMTPException) as error:
        print(f"posthouse run: the first message could not be sent: {error}", file=sys.stderr)
