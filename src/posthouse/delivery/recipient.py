"""The child that works as one recipient: answers questions (`delivery.protocol`) until its parent goes away.

It has dropped every right but the user's before the first question. Single-threaded and blocking on purpose: a lock may
take seconds, a command minutes, and nobody else is held up.
"""

import errno
import os
import socket
from collections.abc import Callable

import msgspec

from posthouse.delivery import command, forward, maildir_drop, mbox
from posthouse.delivery.locks import LockFailed, LockRules
from posthouse.delivery.protocol import (
    PACKET_OCTETS,
    Answers,
    Drop,
    Outcome,
    Questions,
    ReadForward,
    ReadInclude,
    Run,
    Text,
    content_of,
    encoder,
    questions,
)

_TEMPORARY = frozenset({errno.EAGAIN, errno.EINTR, errno.EIO, errno.ENOMEM, errno.ENFILE, errno.EMFILE, errno.ESTALE})


def serve(sock: socket.socket) -> None:
    """Returns when the parent has closed its end, or sent something that is no question."""
    sock.setblocking(True)
    while True:
        packet, descriptors, _, _ = socket.recv_fds(sock, PACKET_OCTETS, 1)
        if not packet:
            return
        try:
            sock.send(encoder.encode(_answer(packet, descriptors, lambda: not _is_closed(sock))))
        except (BrokenPipeError, ConnectionResetError, mbox.NotWanted):
            return
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def _is_closed(sock: socket.socket) -> bool:
    try:
        return not sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _answer(packet: bytes, descriptors: list[int], is_wanted: Callable[[], bool] = lambda: True) -> Answers:
    try:
        question: Questions = questions.decode(packet)
        match question:
            case ReadForward():
                return _read_forward(question)
            case ReadInclude():
                text = forward.read_text(question.path, question.size_limit)
                return Text(text, question.path)
            case Drop():
                return _drop(question, _content(question, descriptors), is_wanted)
            case Run():
                return _run(question, _content(question, descriptors))
    except forward.TemporarilyUnreadable as error:
        return Outcome("4.3.5", str(error))
    except OSError as error:
        return Outcome("4.3.0", f"{error.filename or 'delivery'}: {error.strerror or error}")
    except (ValueError, msgspec.MsgspecError) as error:
        return Outcome("4.3.0", f"internal error: {error}")


def _content(question: Drop | Run, descriptors: list[int]) -> bytes:
    return content_of(descriptors[0], question.size) if descriptors else question.content


def _read_forward(question: ReadForward) -> Answers:
    if question.home and not os.path.isdir(question.home):
        return Outcome("4.3.0", f"home directory {question.home} is not available")
    text, path, warnings = forward.read_first(question.paths, question.owner, question.size_limit)
    return Text(text, path, warnings)


def _drop(question: Drop, content: bytes, is_wanted: Callable[[], bool]) -> Outcome:
    rules = LockRules(question.locks, question.lock_attempts, question.lock_delay_s, question.lock_stale_s)
    is_maildir = question.path.endswith("/")
    try:
        if is_maildir:
            unique = maildir_drop.unique_name(question.delivery, question.at_s, question.host)
            maildir_drop.drop(
                question.path,
                question.head,
                content,
                unique,
                size_limit=question.size_limit,
                owner=question.owner,
                maybe_delivered=question.maybe_delivered,
            )
        else:
            mbox.append(
                question.path,
                mbox.render(question.sender, question.head, question.delivery, content, question.at_s),
                question.delivery,
                rules,
                size_limit=question.size_limit,
                owner=question.owner,
                maybe_delivered=question.maybe_delivered,
                is_wanted=is_wanted,
            )
    except LockFailed as error:
        return Outcome("4.2.0", str(error))
    except mbox.NotAMailbox as error:
        return Outcome("4.2.0", str(error))
    except mbox.LeftBehind as error:
        return Outcome("4.3.0", str(error), is_uncertain=True)
    except mbox.MailboxFull:
        return Outcome("5.2.2", "mailbox is full" if is_maildir else "mailbox would exceed mailbox_size_limit")
    except OSError as error:
        # Postfix bounces for an exceeded disk quota and waits for everything that somebody may still mend.
        dsn = (
            "5.2.2" if error.errno in (errno.EDQUOT, errno.EFBIG) else "4.3.0" if error.errno in _TEMPORARY else "4.2.0"
        )
        return Outcome("4.3.1" if error.errno == errno.ENOSPC else dsn, error.strerror or str(error))
    return Outcome("2.0.0", "delivered")


def _run(question: Run, content: bytes) -> Outcome:
    message = mbox.from_line(question.sender, question.at_s) + question.head + mbox.local_lines(content)
    return command.run(
        question.command,
        question.shell,
        question.directory,
        question.environment,
        message,
        question.time_limit_s,
        question.output_limit,
    )
