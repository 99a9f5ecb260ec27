import asyncio

import pytest

from posthouse.core.identifiers import DeliveryId, Uid
from posthouse.store.interface import MailboxEvent, MailboxNotFound, OverQuota, Store
from tests.store.conformance.conftest import MakeStore
from tests.store.conformance.messages import message

FIRST = DeliveryId("4bXyZ1abcdz0.0.0")
SECOND = DeliveryId("4bXyZ1abcdz0.1.0")


def test_a_delivery_is_a_message_when_the_mailbox_is_opened(store: Store) -> None:
    assert store.deliver(message("one"), FIRST, "INBOX", False)
    assert store.deliver(message("two"), SECOND, "INBOX", False)
    asyncio.run(store.flush())
    inbox = store.open("INBOX")
    assert sorted(inbox.content(row.uid) or b"" for row in inbox.rows()) == [message("one"), message("two")]
    assert inbox.claim_recent(False) == {1, 2}
    assert store.status("INBOX").unseen == 2


def test_an_open_mailbox_hears_of_a_delivery_at_once(store: Store) -> None:
    inbox = store.open("INBOX")
    events: list[MailboxEvent] = []
    inbox.listen(events.append)
    store.deliver(message("one"), FIRST, "INBOX", False)
    assert [row.size for event in events for row in event.new] == [len(message("one"))]


def test_the_same_delivery_again_counts_once(store: Store) -> None:
    assert store.deliver(message(), FIRST, "INBOX", False)
    assert not store.deliver(message(), FIRST, "INBOX", True)
    assert store.deliver(message(), SECOND, "INBOX", True)
    assert len(store.open("INBOX").rows()) == 2
    assert not store.deliver(message(), FIRST, "INBOX", True)
    assert len(store.open("INBOX").rows()) == 2


@pytest.mark.parametrize("how", ["expunge", "move", "delete"])
def test_what_the_user_removed_before_it_was_retired_stays_removed(store: Store, how: str) -> None:
    store.create("box")
    store.create("elsewhere")
    store.deliver(message(), FIRST, "box", False)
    box = store.open("box")
    uids = [row.uid for row in box.rows()]
    if how == "expunge":
        box.expunge(uids, None)
    elif how == "move":
        box.move(uids, "elsewhere", None)
    else:
        store.delete("box")
        store.create("box")
    assert not store.deliver(message(), FIRST, "box", True)
    asyncio.run(store.flush())
    assert not store.deliver(message(), FIRST, "box", True)
    assert list(store.open("box").rows()) == []


def test_a_withdrawn_delivery_is_delivered_again(store: Store) -> None:
    store.deliver(message(), FIRST, "INBOX", False)
    store.withdraw([FIRST])
    assert store.deliver(message(), FIRST, "INBOX", True)
    assert len(store.open("INBOX").rows()) == 1


def test_retired_deliveries_are_forgotten_without_harm(store: Store) -> None:
    store.deliver(message(), FIRST, "INBOX", False)
    store.retired([FIRST, DeliveryId("never.0.0")])
    inbox = store.open("INBOX")
    assert list(inbox.expunge([Uid(1)], None)) == [1]


def test_a_delivery_over_quota_or_to_nowhere_is_refused(make_store: MakeStore) -> None:
    store = make_store(len(message()) + 10)
    store.deliver(message(), FIRST, "INBOX", False)
    with pytest.raises(OverQuota):
        store.deliver(message(), SECOND, "INBOX", False)
    # What is there already needs no room.
    assert not store.deliver(message(), FIRST, "INBOX", True)
    with pytest.raises(MailboxNotFound):
        store.deliver(message(), SECOND, "nowhere", False)
    assert len(store.open("INBOX").rows()) == 1


def test_flush_may_be_awaited_by_many(store: Store) -> None:
    async def run() -> None:
        store.deliver(message(), FIRST, "INBOX", False)
        await asyncio.gather(*(store.flush() for _ in range(20)))

    asyncio.run(run())
