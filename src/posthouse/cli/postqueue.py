"""NAME
    postqueue - look at the queue, and have it tried
SYNOPSIS
    postqueue [-c DIR] -p | -j | -f | -i QUEUE_ID | -s SITE
DESCRIPTION
    -p lists the queue as people and programs know it from sendmail ("*" behind the queue id: being delivered, "!": on
    hold), -j as one JSON object a line. -f tries all deferred mail now, -i one message, -s the mail for one site.

    When the system is stopped, -p and -j read the spool directly if the caller may.
EXIT STATUS
    0, or as in sysexits.h: 64 usage, 69 the system is stopped, 75 try again.
SEE ALSO
    mailq, postsuper(1), postcat(1), sendmail(1)
"""

import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TextIO

from posthouse.cli.queue_client import NotRunning, QueueClient, command_socket
from posthouse.cli.queue_settings import read_settings
from posthouse.config.parameter import Settings
from posthouse.config.parameters.general import QUEUE_DIRECTORY
from posthouse.config.parameters.master import RUN_DIRECTORY
from posthouse.core.identifiers import QueueId
from posthouse.core.reply import MailError, TempFail
from posthouse.runtime.schema import Done, Flush, FlushMessage, ListQueue, QueueEntry, QueuePage

EX_USAGE: Final = 64
EX_UNAVAILABLE: Final = 69
EX_SOFTWARE: Final = 70
EX_TEMPFAIL: Final = 75
USAGE: Final = "usage: postqueue [-c config_dir] -f | -i queue_id | -j | -p | -s site"
_FORMAT: Final = "%-17s %8s %-19s %s\n"
_REASON_COLUMN: Final = 78


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    directory = action = value = ""
    waiting = iter(arguments)
    for one in waiting:
        if one[:2] in ("-c", "-i", "-s") and not one.startswith("--"):
            found = one[2:] or next(waiting, "")
            if not found:
                return _usage(f"option {one} needs a value")
            if one[1] == "c":
                directory = found
            else:
                action, value = one[1], found
        elif one in ("-p", "-f", "-j"):
            action = one[1]
        elif set(one) != {"-", "v"}:
            return _usage(f"unknown option {one}")
    if not action:
        return _usage()
    return act(read_settings(directory), action, value)


def _usage(words: str = "") -> int:
    if words:
        print(f"postqueue: fatal: {words}", file=sys.stderr)
    print(USAGE, file=sys.stderr)
    return EX_USAGE


def act(settings: Settings, action: str, value: str = "") -> int:
    """What mailq and sendmail -q do, too."""
    path = command_socket(settings[RUN_DIRECTORY], "show")
    try:
        with QueueClient(path) as client:
            if action in "pj":
                _show(action, _listing(client), sys.stdout)
            elif action == "i":
                client.call(FlushMessage(QueueId(value)), Done)
            else:
                client.call(Flush(value), Done)
    except NotRunning as error:
        return _stopped(settings, action, error)
    except MailError as error:
        print(f"postqueue: fatal: {error.reply.text}", file=sys.stderr)
        return EX_TEMPFAIL if isinstance(error, TempFail) else EX_UNAVAILABLE
    except (ConnectionError, TimeoutError) as error:
        print(f"postqueue: fatal: the queue does not answer: {error}", file=sys.stderr)
        return EX_TEMPFAIL
    except BrokenPipeError:
        return 0
    return 0


def _listing(client: QueueClient) -> Iterator[QueueEntry]:
    after = ""
    while True:
        page = client.call(ListQueue(after), QueuePage)
        yield from page.entries
        after = page.after
        if not after:
            return


def _stopped(settings: Settings, action: str, error: NotRunning) -> int:
    if action not in "pj":
        print(f"postqueue: fatal: the mail system is down ({error}): nothing can be flushed", file=sys.stderr)
        return EX_UNAVAILABLE
    from posthouse.queue.inspection import read_queue

    try:
        entries = read_queue(settings[QUEUE_DIRECTORY])
    except OSError as problem:
        print(f"postqueue: fatal: Queue report unavailable - mail system is down ({error}; {problem})", file=sys.stderr)
        return EX_UNAVAILABLE
    print(f"postqueue: warning: Mail system is down -- accessing queue directly ({error})", file=sys.stderr)
    _show(action, entries, sys.stdout)
    return 0


def _show(action: str, entries: Iterable[QueueEntry], out: TextIO) -> None:
    if action == "j":
        for entry in entries:
            out.write(as_json(entry) + "\n")
    else:
        write_listing(entries, out)


def as_json(entry: QueueEntry) -> str:
    """The members and their order as postqueue(1) documents them."""
    return json.dumps(
        {
            "queue_name": entry.queue_name,
            "queue_id": entry.queue_id,
            "arrival_time": int(entry.arrival_time),
            "message_size": entry.message_size,
            "forced_expire": False,
            "sender": entry.sender or "MAILER-DAEMON",
            "recipients": [
                {"address": one.address, **({"delay_reason": one.delay_reason} if one.delay_reason else {})}
                for one in entry.recipients
            ],
        },
        ensure_ascii=False,
    )


def write_listing(entries: Iterable[QueueEntry], out: TextIO) -> None:
    """Postfix's format for long queue ids."""
    count = octets = 0
    for entry in entries:
        if count == 0:
            out.write(_FORMAT % ("----Queue ID-----", "--Size--", "---Arrival Time----", "--Sender/Recipient------"))
        else:
            out.write("\n")
        count += 1
        octets += entry.message_size
        mark = {"active": "*", "hold": "!"}.get(entry.queue_name, "")
        arrival = time.asctime(time.localtime(entry.arrival_time))[:19]
        out.write(
            _FORMAT
            % (f"{entry.queue_id}{mark}", entry.message_size, arrival, printable(entry.sender or "MAILER-DAEMON"))
        )
        reason = ""
        # Recipients without a reason first would hide whom a reason is about.
        for one in sorted(entry.recipients, key=lambda one: one.delay_reason):
            if one.delay_reason and one.delay_reason != reason:
                reason = one.delay_reason
                text = f"({printable(reason)})"
                out.write(f"{text:>{_REASON_COLUMN}}\n")
            out.write(_FORMAT % ("", "", "", printable(one.address)))
    if count == 0:
        out.write("Mail queue is empty\n")
    else:
        out.write(f"\n-- {octets // 1024} Kbytes in {count} Request{'' if count == 1 else 's'}.\n")


def printable(text: str) -> str:
    """Nothing from outside reaches the terminal as a control character."""
    return "".join(character if character.isprintable() else "?" for character in text)


if __name__ == "__main__":
    main()
