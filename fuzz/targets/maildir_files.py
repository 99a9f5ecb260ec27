"""Names and small files of a Maildir that other programs write: message file names, dovecot-uidlist, dovecot-keywords,
maildirsize, subscriptions, folder names."""

from fuzz.target import Target
from posthouse.core.identifiers import DeliveryId
from posthouse.protocol.imap.flags import is_keyword
from posthouse.store.interface import InvalidName
from posthouse.store.maildir import keywords, layout, messagefile, names, quota, subscriptions, uidlist
from posthouse.store.naming import canonical, listing


def check(data: bytes) -> None:
    text = data.decode("utf-8", "surrogateescape")
    for line in text.split("\n")[:50]:
        _name(line)
        _folder(line)
    _uidlist(text)
    found = keywords.parse_keywords(text)
    assert len(found) <= names.MAX_KEYWORDS
    assert all(keyword == "" or is_keyword(keyword) for keyword in found if len(keyword) <= 255)
    size = quota.parse_maildirsize(text)
    assert size is None or all(number >= 0 for number in size)
    for courier in (False, True):
        subscribed = subscriptions.parse(text, courier)
        assert len(set(subscribed)) == len(subscribed)
        assert all(canonical(name) == name for name in subscribed)
        again = subscriptions.parse(subscriptions.render(subscribed))
        assert again == subscribed
        names_of = [one.name for one in listing(subscribed, subscribed, {})]
        assert len(set(names_of)) == len(names_of)
    wire = messagefile.to_wire(data)
    assert len(wire) == messagefile.wire_length(data)
    assert wire.count(b"\n") == wire.count(b"\r\n") == data.count(b"\n")
    if b"\r\r\n" not in wire:
        # A file cannot say whether a CR in front of a line end was one more or is the line end's own.
        assert messagefile.to_wire(messagefile.to_file(wire)) == wire


def _name(name: str) -> None:
    base = names.base_of(name)
    assert ":" not in base
    assert name.startswith(base)
    letters = names.letters_of(name)
    assert letters == "" or name == f"{base}:2,{letters}"
    for size in (names.file_size(name), names.wire_size(name), names.arrival_time(base)):
        assert size is None or 0 <= size < 10**18
    delivery = names.delivery_of(base)
    if delivery is not None:
        identifier, moment = delivery
        assert isinstance(identifier, str)
        made = names.NameSource().of_delivery(DeliveryId(identifier), moment, 5, 6)
        assert names.delivery_of(made) == delivery
        assert (names.file_size(made), names.wire_size(made)) == (5, 6)


def _folder(entry: str) -> None:
    name = layout.name_of(entry)
    if name is None:
        return
    if not layout.encoded_differently(name, entry):
        assert layout.name_of(layout.entry_of(name)) == name
    try:
        known = canonical(name)
        directory = layout.entry_of(known)
    except InvalidName:
        return
    assert "/" not in directory
    assert known == "INBOX" or layout.name_of(directory) == known or directory.startswith(("..", "."))


def _uidlist(text: str) -> None:
    try:
        found = uidlist.parse_uidlist(text)
    except uidlist.BadUidList:
        return
    assert 0 < found.uid_validity <= 0xFFFFFFFF
    uids = list(found.uids.values())
    assert all(0 < uid < found.uid_next <= 0xFFFFFFFF for uid in uids)
    assert all("/" not in base and ":" not in base for base in found.uids)
    assert set(found.wire_sizes) <= set(found.uids)
    assert all(size >= 0 for size in found.wire_sizes.values())


TARGET = Target(
    check,
    seeds=(
        b"3 V1234567890 N12 Gabc\n1 W100 S90 :1700000000.M1P2.host,S=90,W=100:2,S\n5 :1700000001.x.host\n7 Wx :a:2,FRSab\n",
        b"1 1234567890 9\n3 1700000000.4bXyz.0.1.host,S=5,W=6:2,S\n4 y\n",
        b"0 work\n1 $Label1\n25 NonJunk\n26 x\n00 y\n",
        b"1000000S,1000C\n500 3\n-20 -1\n",
        b"V\t2\n\nINBOX\na\tb\n&U,BTFw-\n",
        b"INBOX.Sent\nA.&AOQ-\n.Work.2026\n.inbox.x\n..x\n.&\n",
    ),
    words=(
        b"3 V1 N2", b" :", b":2,", b",S=", b",W=", b"S", b"C", b"\n", b"\r\n", b"\t", b"V\t2\n\n", b".", b"/",
        b"INBOX", b"inbox", b"&-", b"&AOQ-", b"&2D3eCg-", b"4bXyz.0.1.", b"1700000000.", b"abcdefz", b"-", b"+",
        b"\0", b"\xff", b"\xc3\xa4", b"*", b"%", b"_", b"\xd9\xa1", b" ", b"N", b"G",
    ),
)  # fmt: skip
