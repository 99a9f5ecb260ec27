"""The ENVELOPE of a header, ready for the wire (RFC 3501 s7.4.2)."""

from functools import lru_cache
from typing import Final

from posthouse.protocol.message.address import MailAddress, parse_addresses
from posthouse.protocol.message.header import FieldFinder, unfold
from posthouse.protocol.message.wire import nstring, string

_ADDRESS_FIELDS: Final = (b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc")
_FINDER: Final = FieldFinder((b"date", b"subject", b"in-reply-to", b"message-id", *_ADDRESS_FIELDS))

MAX_REMEMBERED: Final = 200
REMEMBERED: Final = 512
"""Correspondents come again, and one's own address stands in most messages: short lists are parsed once."""

MAX_TEXT: Final = 65536
"""Octets shown of one field; longer ones are cut, the message keeps them."""


def envelope(header: bytes) -> bytes:
    """The parenthesised list, without the item name. Of a repeated field the last counts; addresses add up."""
    found: dict[bytes, bytes] = {}
    for raw_name, value in _FINDER.find(header):
        name = raw_name.lower()
        text = unfold(value)[:MAX_TEXT]
        if name in _ADDRESS_FIELDS and found.get(name):
            text = found[name] + b", " + text
        found[name] = text
    lists = {name: _address_list(found[name]) for name in _ADDRESS_FIELDS if name in found}
    author = lists.get(b"from", b"NIL")
    # RFC 3501 s7.4.2: without Sender: or Reply-To: the server fills in the address of From:.
    sender = lists.get(b"sender", b"NIL")
    reply_to = lists.get(b"reply-to", b"NIL")
    return b"(%b %b %b %b %b %b %b %b %b %b)" % (
        nstring(found.get(b"date")),
        nstring(found.get(b"subject")),
        author,
        author if sender == b"NIL" else sender,
        author if reply_to == b"NIL" else reply_to,
        lists.get(b"to", b"NIL"),
        lists.get(b"cc", b"NIL"),
        lists.get(b"bcc", b"NIL"),
        nstring(found.get(b"in-reply-to")),
        nstring(found.get(b"message-id")),
    )


def _address_list(value: bytes) -> bytes:
    return _remembered_list(value) if len(value) <= MAX_REMEMBERED else _make_address_list(value)


def _make_address_list(value: bytes) -> bytes:
    addresses = parse_addresses(value)
    if not addresses:
        return b"NIL"
    return b"(" + b"".join(map(_address, addresses)) + b")"


_remembered_list: Final = lru_cache(maxsize=REMEMBERED)(_make_address_list)


def _address(address: MailAddress) -> bytes:
    return b"(%b %b %b %b)" % (
        b"NIL" if address.name is None else string(address.name),
        b"NIL" if address.route is None else string(address.route),
        b"NIL" if address.mailbox is None else string(address.mailbox),
        b"NIL" if address.host is None else string(address.host),
    )
