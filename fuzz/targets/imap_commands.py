"""Any octets, cut anywhere, to the IMAP command reader; and the arguments of what comes out, to every grammar.

What holds: packets make no difference; no more is kept than the limits say; argument parsers answer or raise
BadArguments; what can be written again is read again the same.
"""

import itertools

from fuzz.target import Target
from posthouse.access.imap.matching import Compiler
from posthouse.core.identifiers import Uid
from posthouse.protocol.imap.arguments import Arguments, BadArguments
from posthouse.protocol.imap.date import format_date_time, parse_date, parse_date_time
from posthouse.protocol.imap.fetch import parse_fetch_items
from posthouse.protocol.imap.flags import checked_flags, format_flags
from posthouse.protocol.imap.mailbox_name import (
    BadMailboxName,
    decode_mailbox_name,
    encode_mailbox_name,
    format_mailbox_name,
)
from posthouse.protocol.imap.parser import Command, CommandReader, Event, LiteralWanted, ReaderLimits, Refused
from posthouse.protocol.imap.search import BadCharset, parse_search
from posthouse.protocol.imap.sequence import format_sequence_set, parse_sequence_set

LIMITS = ReaderLimits(line=500, literal=400, literals=5, message=600)


def read(octets: bytes, step: int, lines: int) -> list[Event]:
    reader = CommandReader(LIMITS)
    found: list[Event] = []
    for at in range(0, len(octets), step):
        reader.receive_data(octets[at : at + step])
        while (event := reader.next_event()) is not None:
            found.append(event)
            if lines and len(found) % lines == 0:
                if isinstance(event, LiteralWanted):
                    reader.refuse_literal()
                else:
                    reader.expect_line()
        assert reader.buffered <= max(LIMITS.line + 2, LIMITS.message, LIMITS.literal, 64)
    return found


def check(data: bytes) -> None:
    if len(data) < 2:
        return
    step, lines, octets = data[0] % 50 + 1, data[1] % 6, data[2:]
    whole = read(octets, max(1, len(octets)), lines)
    assert whole == read(octets, step, lines)
    assert whole == read(octets, 1, lines)
    for event in whole:
        if isinstance(event, Refused):
            _is_one_line(event.text)
        if isinstance(event, Command):
            assert sum(map(len, event.parts)) <= LIMITS.line + LIMITS.literal + LIMITS.message
            for grammar in _GRAMMARS:
                try:
                    grammar(event.arguments())
                except BadArguments as error:
                    _is_one_line(str(error))
                except BadCharset:
                    pass


def _is_one_line(text: str) -> None:
    assert text.isascii()
    assert text.isprintable()


def _search(arguments: Arguments) -> None:
    Compiler(5, Uid(9), ()).search(parse_search(arguments))


def _fetch(arguments: Arguments) -> None:
    arguments.space()
    parse_fetch_items(arguments)


def _set(arguments: Arguments) -> None:
    arguments.space()
    numbers = parse_sequence_set(arguments.sequence_set())
    bounds = numbers.uid_bounds(1000)
    assert all(first <= last for first, last in bounds)
    assert all(one[1] < two[0] for one, two in itertools.pairwise(bounds))
    chosen = [number for span in numbers.numbers(1000) for number in span]
    again = [number for span in parse_sequence_set(format_sequence_set(chosen)).numbers(1000) for number in span]
    assert again == chosen == sorted(set(chosen))


def _flags(arguments: Arguments) -> None:
    arguments.space()
    flags = checked_flags(arguments.flag_list())
    written = format_flags(flags)
    again = checked_flags(Arguments((written,), 0).flag_list())
    assert again == flags


def _mailbox(arguments: Arguments) -> None:
    arguments.space()
    octets = arguments.astring()
    try:
        name = decode_mailbox_name(octets)
    except BadMailboxName:
        return
    assert encode_mailbox_name(name) == octets
    if b"\0" not in octets:
        written = format_mailbox_name(name)
        line, literal, text = written.partition(b"\r\n")
        parts = (line, text, b"") if literal else (line,)
        assert Arguments(parts, 0).astring() == octets


def _dates(arguments: Arguments) -> None:
    arguments.space()
    text = arguments.string()
    try:
        moment = parse_date_time(text)
    except BadArguments:
        parse_date(text)
        return
    written = format_date_time(moment)
    assert parse_date_time(written.strip(b'"')) == max(moment, -62_135_596_800.0) // 1


_GRAMMARS = (_search, _fetch, _set, _flags, _mailbox, _dates)

TARGET = Target(
    check,
    seeds=(
        b"\1\0a LOGIN {3}\r\nabc {2+}\r\nde\r\nb SELECT \"INBOX\"\r\n",
        b"\5\2a UID FETCH 1:* (FLAGS BODY.PEEK[1.2.HEADER.FIELDS (To \"Cc\")]<0.5> RFC822.SIZE)\r\nDONE\r\n",
        b"\7\0a SEARCH CHARSET UTF-8 OR (SEEN NOT DELETED) OR FROM {2}\r\nxy SINCE 1-Jan-2020 KEYWORD k 1:5,*\r\n",
        b"\7\0a STORE (\\Seen \\Deleted kw)\r\na X 4:2,9,1:*\r\na X \"01-Jan-2020 10:00:00 +0800\"\r\na X &U,BTFw-\r\n",
        b"\3\1a APPEND INBOX (\\Seen) {700}\r\nb APPEND x {800+}\r\n" + b"y" * 800 + b"\r\nc NOOP\r\n",
        b"\2\0tag \xff\r\n* X\r\na " + b"long" * 150 + b" {4+}\r\nabcd\r\n\r\n",
    ),
    words=(
        b"a UID FETCH ", b"a SEARCH ", b"a X ", b"BODY[]", b"BODY.PEEK[", b"HEADER.FIELDS.NOT (", b"TEXT]<1>",
        b"MIME]", b"ENVELOPE", b"BODYSTRUCTURE", b"ALL", b"FULL", b"OR ", b"NOT ", b"(", b")", b"HEADER ", b"UID ",
        b"LARGER ", b"SENTON ", b"UNKEYWORD ", b"CHARSET US-ASCII ", b"1-Feb-2020",
        b"\" 1-Jan-9999 23:59:60 -9959\"", b"{3}\r\n", b"{3+}\r\n", b"{0+}\r\n", b"~{2}\r\n", b"\r\n", b"\n", b"\r",
        b"\"", b"\\", b"\\Seen", b"$", b"*", b":", b",", b"&AOQ-", b"&", b"&2D3eCg-", b"\xff", b"\0", b"DONE\r\n",
        b"NIL",
    ),
    separator=b"\r\n",
)  # fmt: skip
