"""NAME
    postsuper - delete, hold, release or requeue messages
SYNOPSIS
    postsuper [-c DIR] [-d ID] [-h ID] [-H ID] [-r ID] ... [queue ...]
DESCRIPTION
    -d deletes, -h puts on hold, -H releases from hold, -r requeues (aliases and routes are looked up anew).
    ID is a queue id, ALL, or "-" to read ids from standard input, one a line. Queues (incoming, active, deferred, hold)
    limit ALL and everything else to messages there. The command ends when the changes are on stable storage.

    -p, -s and -S (repair the queue's files) are accepted: the queue does that by itself when it starts.
EXIT STATUS
    0, or as in sysexits.h: 64 usage, 69 the system is stopped, 75 try again, 77 not permitted.
SEE ALSO
    postqueue(1), postcat(1)
"""

import re
import sys
from collections.abc import Sequence
from typing import Final

from posthouse.cli.queue_client import NotRunning, QueueClient, command_socket
from posthouse.cli.queue_settings import read_settings
from posthouse.config.parameters.master import RUN_DIRECTORY
from posthouse.core.identifiers import QueueId
from posthouse.core.reply import MailError, TempFail
from posthouse.runtime.schema import Changed, ChangeMessages

EX_USAGE: Final = 64
EX_DATAERR: Final = 65
EX_UNAVAILABLE: Final = 69
EX_TEMPFAIL: Final = 75
EX_NOPERM: Final = 77
_ACTIONS: Final = {"d": "delete", "h": "hold", "H": "release", "r": "requeue"}
_DONE: Final = {"delete": "Deleted", "hold": "Placed on hold", "release": "Released from hold", "requeue": "Requeued"}
QUEUES: Final = ("incoming", "active", "deferred", "hold")
_QUEUE_ID: Final = re.compile(r"[0-9A-Za-z]{5,40}\Z")
BATCH: Final = 1000
USAGE: Final = "usage: postsuper [-c config_dir] [-d queue_id (delete)] [-h queue_id (hold)] [-H queue_id (release)] \
[-r queue_id (requeue)] [queue...]"


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    directory = ""
    wanted: list[tuple[str, str]] = []
    queues: list[str] = []
    waiting = iter(arguments)
    for one in waiting:
        letter = one[1:2]
        if one.startswith("-") and letter and letter in "cdhHr":
            value = one[2:] or next(waiting, "")
            if not value:
                return _fail(EX_USAGE, f"option -{letter} needs a value")
            if letter == "c":
                directory = value
            else:
                wanted.append((_ACTIONS[letter], value))
        elif one.startswith("-") and letter and set(one[1:]) <= set("psSv"):
            continue
        elif one in QUEUES:
            queues.append(one)
        else:
            print(USAGE, file=sys.stderr)
            return _fail(EX_USAGE, f"unknown queue or option {one}")
    if not wanted:
        return 0
    changes: list[tuple[str, list[QueueId]]] = []
    for action, value in wanted:
        ids = [line.strip() for line in sys.stdin if line.strip()] if value == "-" else [value]
        if ids == ["ALL"]:
            changes.append((action, []))
            continue
        if bad := [queue_id for queue_id in ids if not _QUEUE_ID.match(queue_id)]:
            return _fail(EX_DATAERR, f"invalid queue id {bad[0]!r}")
        changes += [
            (action, [QueueId(queue_id) for queue_id in ids[start : start + BATCH]])
            for start in range(0, len(ids), BATCH)
        ]
    return _change(directory, changes, tuple(queues))


def _change(directory: str, changes: list[tuple[str, list[QueueId]]], queues: tuple[str, ...]) -> int:
    path = command_socket(read_settings(directory)[RUN_DIRECTORY], "admin")
    counts: dict[str, int] = {}
    try:
        with QueueClient(path) as client:
            for action, ids in changes:
                request = ChangeMessages(action, tuple(ids), queues)
                counts[action] = counts.get(action, 0) + client.call(request, Changed).count
    except NotRunning as error:
        if error.is_forbidden:
            return _fail(EX_NOPERM, "use of this command is reserved for the superuser")
        return _fail(EX_UNAVAILABLE, f"the mail system is down ({error}); start it, then change the queue")
    except MailError as error:
        return _fail(EX_TEMPFAIL if isinstance(error, TempFail) else EX_UNAVAILABLE, error.reply.text)
    except (ConnectionError, TimeoutError) as error:
        return _fail(EX_TEMPFAIL, f"the queue does not answer: {error}")
    for action, count in counts.items():
        if count:
            print(f"postsuper: {_DONE[action]}: {count} message{'' if count == 1 else 's'}", file=sys.stderr)
    return 0


def _fail(status: int, words: str) -> int:
    print(f"postsuper: fatal: {words}", file=sys.stderr)
    return status


if __name__ == "__main__":
    main()
