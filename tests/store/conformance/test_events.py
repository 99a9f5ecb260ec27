from posthouse.core.identifiers import DeliveryId, Uid
from posthouse.store.interface import FlagChange, MailboxEvent, Store
from tests.store.conformance.messages import message


def test_events_come_in_order_after_they_are_so(store: Store) -> None:
    inbox = store.open("INBOX")
    seen: list[str] = []

    def listener(event: MailboxEvent) -> None:
        for row in event.new:
            assert inbox.row(row.uid) is not None
            seen.append(f"new {row.uid}")
        for row in event.changed:
            current = inbox.row(row.uid)
            assert current is not None
            assert current.flags == row.flags
            seen.append(f"changed {row.uid}")
        for uid in event.expunged:
            assert inbox.row(uid) is None
            seen.append(f"expunged {uid}")

    stop = inbox.listen(listener)
    inbox.append(message(), frozenset(), None, None)
    store.deliver(message(), DeliveryId("q.0.0"), "INBOX", False)
    inbox.store_flags([Uid(1)], FlagChange.ADD, frozenset({"\\Deleted"}), None)
    inbox.expunge([Uid(1)], None)
    assert seen == ["new 1", "new 2", "changed 1", "expunged 1"]
    stop()
    stop()
    inbox.append(message(), frozenset(), None, None)
    assert len(seen) == 4


def test_a_listener_may_stop_while_it_is_told(store: Store) -> None:
    inbox = store.open("INBOX")
    told: list[int] = []

    def once(event: MailboxEvent) -> None:
        told.append(1)
        stop()

    stop = inbox.listen(once)
    inbox.listen(lambda event: told.append(2))
    inbox.append(message(), frozenset(), None, None)
    inbox.append(message(), frozenset(), None, None)
    assert told == [1, 2, 2]
