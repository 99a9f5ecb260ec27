from posthouse.core.identifiers import Uid
from posthouse.store.interface import FlagChange, Mailbox, MailboxEvent, Store
from tests.store.conformance.messages import message


def filled(store: Store, count: int = 3) -> Mailbox:
    inbox = store.open("INBOX")
    for _ in range(count):
        inbox.append(message(), frozenset(), None, None)
    return inbox


def test_flags_and_keywords_are_added_removed_and_replaced(store: Store) -> None:
    inbox = filled(store)
    inbox.store_flags([Uid(1)], FlagChange.ADD, frozenset({"\\Seen", "$Label1"}), None)
    assert inbox.rows()[0].flags == {"\\Seen", "$Label1"}
    inbox.store_flags([Uid(1)], FlagChange.ADD, frozenset({"\\Deleted"}), None)
    assert inbox.rows()[0].flags == {"\\Seen", "\\Deleted", "$Label1"}
    inbox.store_flags([Uid(1)], FlagChange.REMOVE, frozenset({"\\Seen", "\\Draft"}), None)
    assert inbox.rows()[0].flags == {"\\Deleted", "$Label1"}
    inbox.store_flags([Uid(1)], FlagChange.REPLACE, frozenset({"\\Answered"}), None)
    assert inbox.rows()[0].flags == {"\\Answered"}
    assert inbox.rows()[1].flags == frozenset()


def test_keywords_are_known_to_the_mailbox(store: Store) -> None:
    inbox = filled(store)
    inbox.store_flags([Uid(1)], FlagChange.ADD, frozenset({"NonJunk", "\\Seen"}), None)
    inbox.append(message(), frozenset({"Work", "\\Flagged"}), None, None)
    assert set(inbox.keywords()) >= {"NonJunk", "Work"}
    assert not any(keyword.startswith("\\") for keyword in inbox.keywords())


def test_many_keywords_on_one_message(store: Store) -> None:
    inbox = filled(store, 1)
    wanted = frozenset(f"keyword{number}" for number in range(40))
    inbox.store_flags([Uid(1)], FlagChange.ADD, wanted, None)
    assert inbox.rows()[0].flags == wanted


def test_the_answer_names_every_existing_message_listeners_hear_only_of_changes(store: Store) -> None:
    inbox = filled(store)
    inbox.store_flags([Uid(2)], FlagChange.ADD, frozenset({"\\Seen"}), None)
    events: list[MailboxEvent] = []
    inbox.listen(events.append)
    origin = object()
    rows = inbox.store_flags([Uid(1), Uid(2), Uid(9)], FlagChange.ADD, frozenset({"\\Seen"}), origin)
    assert [(row.uid, row.flags) for row in rows] == [(1, {"\\Seen"}), (2, {"\\Seen"})]
    assert [[row.uid for row in event.changed] for event in events] == [[1]]
    assert events[0].origin is origin


def test_modseq_grows_with_every_change_and_only_then(store: Store) -> None:
    inbox = filled(store)
    first = inbox.highest_modseq
    assert first == max(row.modseq for row in inbox.rows())
    inbox.store_flags([Uid(2)], FlagChange.ADD, frozenset({"\\Seen"}), None)
    second = inbox.highest_modseq
    assert second > first
    assert inbox.rows()[1].modseq == second
    assert inbox.rows()[0].modseq < second
    inbox.store_flags([Uid(2)], FlagChange.ADD, frozenset({"\\Seen"}), None)
    assert inbox.highest_modseq == second
    inbox.expunge([Uid(1)], None)
    assert inbox.highest_modseq > second


def test_flags_of_thousands_change_in_one_call(store: Store) -> None:
    inbox = filled(store, 1200)
    uids = [row.uid for row in inbox.rows()]
    rows = inbox.store_flags(uids, FlagChange.ADD, frozenset({"\\Seen"}), None)
    assert [row.uid for row in rows] == uids
    assert all(row.flags == {"\\Seen"} for row in inbox.rows())
    assert store.status("INBOX").unseen == 0
