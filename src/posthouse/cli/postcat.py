"""NAME
    postcat - show a queued message
SYNOPSIS
    postcat [-c DIR] [-behv] -q ID ...
DESCRIPTION
    Shows envelope (-e), header (-h) and body (-b) of messages in the queue; without any of these letters, all of it.
    -v shows more of the envelope. -o is accepted.

    When the system is stopped, the spool is read directly if the caller may.
EXIT STATUS
    0, or as in sysexits.h: 64 usage, 69 no such message or the system is stopped, 75 try again, 77 not permitted.
SEE ALSO
    postqueue(1), postsuper(1)
"""

import sys
import time
from collections.abc import Sequence
from typing import BinaryIO, Final

from posthouse.cli.queue_client import NotRunning, QueueClient, command_socket
from posthouse.cli.queue_settings import read_settings
from posthouse.config.parameter import Settings
from posthouse.config.parameters.general import QUEUE_DIRECTORY
from posthouse.config.parameters.master import RUN_DIRECTORY
from posthouse.core.identifiers import QueueId
from posthouse.core.reply import MailError, TempFail
from posthouse.runtime.schema import QueuedMessage, ReadMessage

EX_USAGE: Final = 64
EX_UNAVAILABLE: Final = 69
EX_TEMPFAIL: Final = 75
EX_NOPERM: Final = 77
USAGE: Final = (
    "usage: postcat [-c config_dir] [-b (body text)] [-e (envelope records)] [-h (header text)] [-v] -q id..."
)


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:], sys.stdout.buffer))


def run(arguments: Sequence[str], out: BinaryIO) -> int:
    directory = ""
    letters: set[str] = set()
    ids: list[str] = []
    waiting = iter(arguments)
    for one in waiting:
        if one.startswith("-c"):
            directory = one[2:] or next(waiting, "")
        elif one.startswith("-") and one[1:] and set(one[1:]) <= set("behqvodf"):
            letters |= set(one[1:])
        elif one.startswith("-"):
            print(USAGE, file=sys.stderr)
            return _fail(EX_USAGE, f"unknown option {one}")
        else:
            ids.append(one)
    if not ids or "q" not in letters:
        print(USAGE, file=sys.stderr)
        return EX_USAGE
    parts = letters & set("beh") or set("beh")
    settings = read_settings(directory)
    for queue_id in ids:
        status = _show(settings, QueueId(queue_id), parts, "v" in letters, out)
        if status:
            return status
    out.flush()
    return 0


def _show(settings: Settings, queue_id: QueueId, parts: set[str], is_verbose: bool, out: BinaryIO) -> int:
    try:
        with QueueClient(command_socket(settings[RUN_DIRECTORY], "admin")) as client:
            message = client.call(ReadMessage(queue_id), QueuedMessage)
            content = [message.content]
            offset = len(message.content)
            while offset < message.entry.message_size:
                piece = client.call(ReadMessage(queue_id, offset), QueuedMessage).content
                if not piece:
                    break
                content.append(piece)
                offset += len(piece)
    except NotRunning as error:
        if error.is_forbidden:
            return _fail(EX_NOPERM, "use of this command is reserved for the superuser")
        return _stopped(settings, queue_id, parts, is_verbose, out, error)
    except MailError as error:
        words = f"{queue_id}: {error.reply.text}"
        return _fail(EX_TEMPFAIL if isinstance(error, TempFail) else EX_UNAVAILABLE, words)
    except (ConnectionError, TimeoutError) as error:
        return _fail(EX_TEMPFAIL, f"the queue does not answer: {error}")
    write(message, b"".join(content), parts, is_verbose, out)
    return 0


def _stopped(
    settings: Settings, queue_id: QueueId, parts: set[str], is_verbose: bool, out: BinaryIO, error: NotRunning
) -> int:
    from posthouse.queue.inspection import read_message

    try:
        found = read_message(settings[QUEUE_DIRECTORY], queue_id)
    except OSError as problem:
        return _fail(EX_UNAVAILABLE, f"the mail system is down ({error}) and the spool cannot be read: {problem}")
    if found is None:
        return _fail(EX_UNAVAILABLE, f"{queue_id}: no such message in the queue")
    write(found[0], found[1], parts, is_verbose, out)
    return 0


def write(message: QueuedMessage, content: bytes, parts: set[str], is_verbose: bool, out: BinaryIO) -> None:
    """The sections and marks of postcat(1); content with the line ends of this system."""
    entry, envelope, arrival = message.entry, message.envelope, message.arrival
    name = f"{entry.queue_name}/{entry.queue_id}"
    content = content.replace(b"\r\n", b"\n")
    end = 0 if content.startswith(b"\n") else content.find(b"\n\n") + 1
    header, body = (content[:end], content[end:]) if end > 0 or content.startswith(b"\n") else (content, b"")
    if "e" in parts:
        lines = [f"*** ENVELOPE RECORDS {name} ***"]
        lines.append(f"message_size: {entry.message_size:15}")
        lines.append(f"message_arrival_time: {time.ctime(arrival.at_s)}")
        facts = {
            "log_client_name": arrival.client_name,
            "log_client_address": arrival.client_address,
            "log_helo_name": arrival.helo,
            "log_protocol_name": arrival.protocol,
            "sasl_method": arrival.sasl_method,
            "sasl_username": arrival.sasl_username,
            "log_message_origin": arrival.origin,
        }
        if is_verbose:
            facts["message_id"] = arrival.message_id
            facts["submitter_uid"] = str(arrival.submitter_uid) if arrival.submitter_uid >= 0 else ""
        lines += [f"named_attribute: {key}={value}" for key, value in facts.items() if value]
        for key, value in (("dsn_envelope_id", envelope.envid), ("dsn_ret", envelope.ret), ("body", envelope.body)):
            if value:
                lines.append(f"{key}: {value}")
        lines.append(f"sender: {entry.sender}")
        for recipient in envelope.recipients:
            if recipient.notify:
                lines.append(f"dsn_notify_flags: {','.join(recipient.notify)}")
            if recipient.original:
                lines.append(f"original_recipient: {recipient.original}")
            lines.append(f"recipient: {recipient.address}")
        out.write("".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))
    if parts & {"h", "b"}:
        if parts == set("beh"):
            out.write(f"*** MESSAGE CONTENTS {name} ***\n".encode())
        if "h" in parts:
            out.write(header)
        if "b" in parts:
            out.write(body if "h" in parts else body.removeprefix(b"\n"))
    if "e" in parts:
        out.write(f"*** HEADER EXTRACTED {name} ***\n*** MESSAGE FILE END {name} ***\n".encode())


def _fail(status: int, words: str) -> int:
    print(f"postcat: fatal: {words}", file=sys.stderr)
    return status


if __name__ == "__main__":
    main()
