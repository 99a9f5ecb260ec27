"""NAME
    sendmail, mailq, newaliases - hand over mail as every program knows how
SYNOPSIS
    sendmail [options] [recipient ...]
    mailq
    newaliases
DESCRIPTION
    Reads a message from standard input and leaves it in the maildrop directory, from where the queue takes it: this
    works while the system is stopped too, and needs no privilege. Nothing is lost once the exit status is 0.

    -f ADDR, -r ADDR   envelope sender ("<>" or "" is the null sender); default: the user who calls
    -F NAME            full name for the From: field, if the message has none
    -t                 recipients from To:, Cc: and Bcc: too
    -i, -oi            a line with a single dot does not end the message
    -N LIST            when to notify: never, or success,failure,delay
    -R hdrs|full       what to return in a notification
    -V ENVID           envelope id for notifications
    -B 7BIT|8BITMIME   accepted; the queue looks for itself
    -bs                speak SMTP on standard input and output
    -bp, mailq         list the queue
    -q, -qRSITE, -qIID flush: all, mail for a site, one message
    -bi, -I, newaliases  nothing needs to be rebuilt: alias files are read when they change; checks that they can be
    -bd, -bl           start the mail system
    -C DIR, -c DIR     configuration directory
    -v                 say what is done

    Options that sendmail had and nobody needs any more are accepted and ignored: -e*, -h, -m, -n, -o*, -p, -x, -A*, -G,
    -L, -U, -O, -X.
EXIT STATUS
    As in sysexits.h: 0 taken over, 64 usage, 65 the message cannot be taken, 69 not available, 75 try again.
SEE ALSO
    postqueue(1), mailq(1), aliases(5)
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from posthouse.queue.maildrop import BadDrop, Drop, format_drop, leave

EX_OK: Final = 0
EX_USAGE: Final = 64
EX_DATAERR: Final = 65
EX_NOUSER: Final = 67
EX_UNAVAILABLE: Final = 69
EX_TEMPFAIL: Final = 75

_WITH_VALUE: Final = frozenset("ABCFLNOPRVXbcfhopr")
_IGNORED: Final = frozenset("AGLOPUXehmnopx")
_NOTIFY_WORDS: Final = frozenset(("NEVER", "SUCCESS", "FAILURE", "DELAY"))


class Refused(Exception):
    """The command ends with `status`; the text is for the caller."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


@dataclass
class Options:
    directory: str = ""
    mode: str = "m"
    sender: str | None = None
    full_name: str = ""
    from_headers: bool = False
    dot_ends: bool = True
    notify: tuple[str, ...] = ()
    ret: str = ""
    envid: str = ""
    verbose: bool = False
    flush: str | None = None
    recipients: list[str] = field(default_factory=list)


def main() -> None:
    """The console script; mailq and newaliases are sendmail under another name."""
    name = os.path.basename(sys.argv[0])
    mode = {"mailq": "p", "newaliases": "i"}.get(name, "m")
    sys.exit(run(sys.argv[1:], mode))


def mailq() -> None:
    sys.exit(run(sys.argv[1:], "p"))


def newaliases() -> None:
    sys.exit(run(sys.argv[1:], "i"))


def run(arguments: Sequence[str], mode: str = "m") -> int:
    try:
        options = parse_options(arguments, mode)
        return _act(options)
    except Refused as error:
        print(f"sendmail: fatal: {error}", file=sys.stderr)
        return error.status


def parse_options(arguments: Sequence[str], mode: str = "m") -> Options:
    """getopt's rules: letters may be joined, a value may be joined to its letter or follow. Raises Refused."""
    options = Options(mode=mode)
    waiting = list(reversed(arguments))
    while waiting:
        word = waiting.pop()
        if word == "--":
            options.recipients += reversed(waiting)
            break
        if not word.startswith("-") or word == "-":
            # Unlike strict getopt: programs write options behind recipients.
            options.recipients.append(word)
            continue
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in "qe":  # the value, if any, is always joined
                _option(options, letter, letters)
                break
            if letter in _WITH_VALUE:
                value = letters
                if not value:
                    if not waiting:
                        raise Refused(EX_USAGE, f"option requires an argument -- {letter}")
                    value = waiting.pop()
                _option(options, letter, value)
                break
            _option(options, letter, "")
    return options


def _option(options: Options, letter: str, value: str) -> None:
    match letter:
        case "f" | "r":
            options.sender = value.strip().removeprefix("<").removesuffix(">")
        case "F":
            options.full_name = value
        case "t":
            options.from_headers = True
        case "i":
            options.dot_ends = False
        case "o" if value.startswith("i"):
            options.dot_ends = False
        case "b":
            options.mode = value[:1]
        case "c" | "C":
            # Other programs name sendmail.cf here; a directory is meant by us.
            options.directory = os.path.dirname(value) if value.endswith(".cf") else value
        case "q":
            options.flush = value
        case "N":
            options.notify = _notify(value)
        case "R":
            options.ret = _ret(value)
        case "V":
            options.envid = value[:100]
        case "B":
            if value.upper() not in ("7BIT", "8BITMIME"):
                _warn(f"-B option needs 7BIT or 8BITMIME, not {value!r}: ignored")
        case "I":
            options.mode = "i"
        case "v":
            options.verbose = True
        case _ if letter in _IGNORED:
            pass
        case _:
            raise Refused(EX_USAGE, f"invalid option -- {letter}")


def _warn(words: str) -> None:
    print(f"sendmail: warning: {words}", file=sys.stderr)


def _notify(value: str) -> tuple[str, ...]:
    """RFC 3461 s4.1: NEVER stands alone."""
    words = tuple(word.strip().upper() for word in value.split(",") if word.strip())
    if not words or not _NOTIFY_WORDS.issuperset(words) or ("NEVER" in words and len(words) > 1):
        _warn(f"bad -N option value {value!r}: ignored")
        return ()
    return words


def _ret(value: str) -> str:
    if value.upper() not in ("HDRS", "FULL"):
        _warn(f"bad -R option value {value!r}: ignored")
        return ""
    return value.upper()


def _act(options: Options) -> int:
    match options.mode:
        case "m" | "a" if options.flush is None:
            return _submit(options)
        case "s":
            from posthouse.cli.smtp_dialogue import converse

            return converse(options, sys.stdin.buffer, sys.stdout.buffer)
        case "p":
            from posthouse.cli import postqueue
            from posthouse.cli.queue_settings import read_settings

            return postqueue.act(read_settings(options.directory), "p")
        case "m":
            return _flush(options)
        case "i":
            return _check_aliases(options)
        case "d" | "D" | "l":
            from posthouse.cli.posthouse import dispatch

            return dispatch([*(["-c", options.directory] if options.directory else []), "start"])
        case "v":
            raise Refused(EX_UNAVAILABLE, "-bv (report how mail would be delivered) is not available")
        case _:
            raise Refused(EX_USAGE, f"unsupported mode -b{options.mode}")


def _flush(options: Options) -> int:
    from posthouse.cli import postqueue
    from posthouse.cli.queue_settings import read_settings

    what = options.flush or ""
    settings = read_settings(options.directory)
    if what.startswith("R"):
        return postqueue.act(settings, "s", what[1:])
    if what.startswith("I"):
        return postqueue.act(settings, "i", what[1:])
    if what.startswith("S"):
        raise Refused(EX_USAGE, "-qS (flush by sender) is not available")
    return postqueue.act(settings, "f")  # -q30m asked the old daemon for an interval; ours has queue_run_delay


def _check_aliases(options: Options) -> int:
    from posthouse.cli.queue_settings import read_settings

    status = EX_OK
    for table in read_settings(options.directory).text("alias_database").replace(",", " ").split():
        kind, colon, path = table.partition(":")
        if colon and kind in ("hash", "btree", "dbm", "lmdb", "cdb", "texthash") and not os.access(path, os.R_OK):
            print(f"newaliases: fatal: {path} cannot be read", file=sys.stderr)
            status = EX_UNAVAILABLE
    return status


# ── handing over ──


def queue_directory(options: Options) -> str:
    from posthouse.cli.queue_settings import read_settings
    from posthouse.config.parameters.general import QUEUE_DIRECTORY

    return read_settings(options.directory)[QUEUE_DIRECTORY]


def caller() -> str:
    """The login name: the default sender. The queue adds $myorigin."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        raise Refused(EX_NOUSER, f"unknown user id {os.getuid()}") from None


def hand_over(directory: str, drop: Drop) -> None:
    """Raises Refused; when it returns, the message is safe."""
    try:
        leave(f"{directory}/maildrop", format_drop(drop))
    except BadDrop as error:
        raise Refused(EX_DATAERR, str(error)) from error
    except OSError as error:
        raise Refused(EX_TEMPFAIL, f"cannot write to {directory}/maildrop: {error.strerror}") from error


def _submit(options: Options) -> int:
    recipients = [_bare(one) for word in options.recipients for one in _addresses(word)]
    if not recipients and not options.from_headers:
        raise Refused(EX_USAGE, "Recipient addresses must be specified on the command line or via the -t option")
    content = read_message(dot_ends=options.dot_ends)
    if options.from_headers:
        recipients += header_recipients(content)
    if not recipients:
        raise Refused(EX_USAGE, "No recipient addresses found in message header")
    sender = caller() if options.sender is None else options.sender
    is_international = any(not one.isascii() for one in (sender, *recipients))
    drop = Drop(
        sender,
        list(dict.fromkeys(recipients)),
        options.notify,
        options.ret,
        options.envid,
        is_international,
        content,
        _text_of(" ".join(options.full_name.split())),
    )
    if options.verbose:
        print(f"sendmail: from {sender or '<>'} to {', '.join(drop.recipients)}", file=sys.stderr)
    hand_over(queue_directory(options), drop)
    return EX_OK


def _text_of(argument: str) -> str:
    """Octets of the command line that are no UTF-8 become question marks: a name is only shown."""
    return argument.encode("utf-8", "surrogateescape").decode("utf-8", "replace").replace("\ufffd", "?")


def read_message(*, dot_ends: bool) -> bytes:
    content = sys.stdin.buffer.read()
    if not dot_ends:
        return content
    if content.startswith((b".\n", b".\r\n")):
        return b""
    ends = [at for mark in (b"\n.\n", b"\n.\r\n") if (at := content.find(mark)) >= 0]
    if ends:
        return content[: min(ends) + 1]
    return content[:-1] if content.endswith(b"\n.") else content


def _addresses(word: str) -> list[str]:
    """An argument may hold several addresses, separated by commas, or one with a name."""
    if not any(mark in word for mark in ',<>"( \t'):
        return [word] if word else []
    from posthouse.protocol.message.address import parse_addresses

    found = parse_addresses(word.encode("utf-8", "surrogateescape"))
    return [text for one in found if (text := _text(one.mailbox, one.host))]


def _text(mailbox: bytes | None, host: bytes | None) -> str:
    """As an envelope address; "" for the marks of a group and for what is no address."""
    if not mailbox or host is None or mailbox == b"MISSING_MAILBOX" or host == b"SYNTAX_ERROR":
        return ""
    address = mailbox if host == b"MISSING_DOMAIN" else mailbox + b"@" + host
    return address.decode("utf-8", "surrogateescape")


def _bare(address: str) -> str:
    return address.strip().removeprefix("<").removesuffix(">")


def header_recipients(content: bytes) -> list[str]:
    """To:, Cc: and Bcc:, or only their Resent- kin if there is any (RFC 5322 s3.6.6)."""
    from posthouse.protocol.message.address import parse_addresses
    from posthouse.protocol.message.header import fields, header_end, unfold

    header = fields(content[: header_end(content)])
    names = (b"resent-to", b"resent-cc", b"resent-bcc")
    if not any(name in names for name, _ in header):
        names = (b"to", b"cc", b"bcc")
    found = (one for name, value in header if name in names for one in parse_addresses(unfold(value)))
    return [text for one in found if (text := _text(one.mailbox, one.host))]


if __name__ == "__main__":
    main()
