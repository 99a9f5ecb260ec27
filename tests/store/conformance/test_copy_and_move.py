import pytest

from posthouse.core.identifiers import Uid
from posthouse.store.interface import MailboxEvent, MailboxNotFound, Store
from tests.store.conformance.messages import message


def prepared(store: Store) -> None:
    store.create("target")
    inbox = store.open("INBOX")
    for number in range(3):
        inbox.append(message(f"s{number}"), frozenset({"\\Seen", "Keyword"} if number else ()), 1e9 + number, None)


def test_a_copy_has_content_flags_and_date(store: Store) -> None:
    prepared(store)
    inbox, target = store.open("INBOX"), store.open("target")
    target.append(message("first"), frozenset({"Other"}), None, None)
    pairs = inbox.copy([Uid(1), Uid(3), Uid(50)], "target", None)
    assert list(pairs) == [(1, 2), (3, 3)]
    copied = target.rows()[2]
    assert copied.flags == {"\\Seen", "Keyword"}
    assert copied.internal_date_s == 1e9 + 2
    assert copied.size == len(message("s2"))
    assert target.content(Uid(3)) == message("s2")
    assert len(inbox.rows()) == 3


def test_copies_within_a_mailbox_are_messages_of_their_own(store: Store) -> None:
    prepared(store)
    inbox = store.open("INBOX")
    assert list(inbox.copy([Uid(1)], "INBOX", None)) == [(1, 4)]
    inbox.expunge([Uid(1)], None)
    assert inbox.content(Uid(4)) == message("s0")


def test_copying_to_nowhere_changes_nothing(store: Store) -> None:
    prepared(store)
    inbox = store.open("INBOX")
    with pytest.raises(MailboxNotFound):
        inbox.copy([Uid(1)], "nowhere", None)
    with pytest.raises(MailboxNotFound):
        inbox.move([Uid(1)], "nowhere", None)
    assert len(inbox.rows()) == 3


def test_a_move_takes_messages_along_and_both_sides_hear(store: Store) -> None:
    prepared(store)
    inbox, target = store.open("INBOX"), store.open("target")
    here: list[MailboxEvent] = []
    there: list[MailboxEvent] = []
    inbox.listen(here.append)
    target.listen(there.append)
    origin = object()
    pairs = inbox.move([Uid(2), Uid(3)], "target", origin)
    assert list(pairs) == [(2, 1), (3, 2)]
    assert [row.uid for row in inbox.rows()] == [1]
    assert [(row.uid, row.flags) for row in target.rows()] == [(1, {"\\Seen", "Keyword"}), (2, {"\\Seen", "Keyword"})]
    assert target.content(Uid(1)) == message("s1")
    assert inbox.content(Uid(2)) is None
    assert [event.expunged for event in here] == [(2, 3)]
    assert [[row.uid for row in event.new] for event in there] == [[1, 2]]
    assert here[0].origin is origin
    assert there[0].origin is origin


def test_a_move_within_a_full_store_needs_no_room(store: Store) -> None:
    prepared(store)
    used = store.quota()[0]
    store.open("INBOX").move([Uid(1)], "target", None)
    assert store.quota()[0] == used
