"""ID (RFC 2971)."""

from typing import TYPE_CHECKING, Final

import posthouse
from posthouse.access.imap.specification import Answer
from posthouse.protocol.imap.arguments import Arguments, BadArguments
from posthouse.protocol.imap.response import ok
from posthouse.protocol.message.wire import string

if TYPE_CHECKING:
    from posthouse.access.imap.session import ImapSession

MAX_FIELDS: Final = 30
"""RFC 2971 s3.3: "Implementations MUST NOT send more than 30 field-value pairs." """

_OWN_VALUES: Final = {"name": "Posthouse", "version": posthouse.__version__}


def identify(session: "ImapSession", arguments: Arguments) -> Answer:
    arguments.space()
    if arguments.maybe(b"("):
        _read_fields(arguments)
    elif arguments.nstring() is not None:
        raise BadArguments("Invalid arguments.")
    arguments.end()
    session.write(b"* ID %b\r\n" % _own_fields(session.options.id_send))
    return ok("ID completed.")


def _read_fields(arguments: Arguments) -> None:
    count = 0
    _ = arguments.maybe_space()
    while not arguments.maybe(b")"):
        if count:
            arguments.space()
            if arguments.maybe(b")"):
                break
        _ = arguments.astring()
        arguments.space()
        _ = arguments.nstring()
        count += 1
        if count > MAX_FIELDS:
            raise BadArguments("Too many fields.")


def _own_fields(setting: str) -> bytes:
    """imap_id_send is a list of names and values; "*" is our own value."""
    words = setting.split()
    pairs: list[bytes] = []
    for name, value in zip(words[::2], words[1::2], strict=False):
        text = _OWN_VALUES.get(name, "") if value == "*" else value
        pairs.append(b"%b %b" % (string(name.encode()), string(text.encode()) if text else b"NIL"))
    return b"(" + b" ".join(pairs) + b")" if pairs else b"NIL"
