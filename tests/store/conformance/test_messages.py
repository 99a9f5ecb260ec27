import time

import pytest

from posthouse.core.identifiers import Uid
from posthouse.store.interface import Cached, OverQuota, Store
from tests.store.conformance.conftest import MakeStore
from tests.store.conformance.messages import message


@pytest.mark.parametrize(
    "content",
    [
        message(),
        b"",
        b"\r\n",
        b"no header end",
        b"a: b\r\n\r\n.dots\r\n..\r\n",
        "Subject: 你好\r\n\r\nüñ\r\n".encode(),
        "Subject: \xe4\xbd\r\n\r\n你好\r\n".encode("gb18030", "replace"),
        b"a: b\r\n\r\n" + bytes(range(256)).replace(b"\r", b"").replace(b"\n", b"\r\n"),
        b"a: b\r\n\r\n" + b"x" * 100_000,
    ],
)
def test_content_comes_back_octet_by_octet(store: Store, content: bytes) -> None:
    inbox = store.open("INBOX")
    uid = inbox.append(content, frozenset(), None, None)
    assert inbox.content(uid) == content
    row = inbox.row(uid)
    assert row is not None
    assert row.size == len(content)


def test_uids_ascend_and_are_not_used_again(store: Store) -> None:
    inbox = store.open("INBOX")
    assert inbox.uid_next == 1
    uids = [inbox.append(message(), frozenset(), None, None) for _ in range(3)]
    assert uids == [1, 2, 3]
    inbox.expunge([Uid(3)], None)
    assert inbox.append(message(), frozenset(), None, None) == 4
    assert inbox.uid_next == 5
    assert [row.uid for row in inbox.rows()] == [1, 2, 4]


def test_a_snapshot_of_rows_stays_what_it_was(store: Store) -> None:
    inbox = store.open("INBOX")
    inbox.append(message(), frozenset(), None, None)
    before = inbox.rows()
    inbox.append(message(), frozenset(), None, None)
    inbox.expunge([Uid(1)], None)
    assert [row.uid for row in before] == [1]


def test_internal_date_is_kept_to_the_second_and_defaults_to_now(store: Store) -> None:
    inbox = store.open("INBOX")
    inbox.append(message(), frozenset(), 1_000_000_000.0, None)
    inbox.append(message(), frozenset(), None, None)
    dates = [row.internal_date_s for row in inbox.rows()]
    assert dates[0] == 1_000_000_000.0
    assert abs(dates[1] - time.time()) < 60


def test_a_message_that_vanished_is_none(store: Store) -> None:
    inbox = store.open("INBOX")
    uid = inbox.append(message(), frozenset(), None, None)
    assert list(inbox.expunge([uid, Uid(77)], None)) == [uid]
    assert inbox.content(uid) is None
    assert inbox.row(uid) is None
    assert list(inbox.cached([uid], Cached.HEADER)) == []


def test_wire_texts_are_ready_in_the_order_asked(store: Store) -> None:
    inbox = store.open("INBOX")
    uids = [inbox.append(message(f"s{number}"), frozenset(), None, None) for number in range(3)]
    headers = list(inbox.cached([uids[2], uids[0]], Cached.HEADER))
    assert [uid for uid, _ in headers] == [uids[2], uids[0]]
    assert headers[0][1] == message("s2").partition(b"A line.")[0]
    (_, envelope), *_ = inbox.cached(uids, Cached.ENVELOPE)
    assert envelope.startswith(b"(")
    assert b'"s0"' in envelope
    (_, body), *_ = inbox.cached(uids, Cached.BODY)
    (_, structure), *_ = inbox.cached(uids, Cached.BODYSTRUCTURE)
    assert b'"TEXT" "PLAIN"' in body.upper()
    assert len(structure) >= len(body)
    # A second time, from the cache.
    assert list(inbox.cached([uids[2], uids[0]], Cached.HEADER)) == headers


def test_recent_is_told_once(store: Store) -> None:
    inbox = store.open("INBOX")
    inbox.append(message(), frozenset(), None, None)
    inbox.append(message(), frozenset(), None, None)
    assert inbox.claim_recent(True) == {1, 2}
    assert store.status("INBOX").recent == 2
    assert inbox.claim_recent(False) == {1, 2}
    assert inbox.claim_recent(False) == frozenset()
    inbox.append(message(), frozenset(), None, None)
    assert store.status("INBOX").recent == 1
    assert inbox.claim_recent(False) == {3}


def test_status_counts(store: Store) -> None:
    store.create("a")
    mailbox = store.open("a")
    mailbox.append(message(), frozenset({"\\Seen"}), None, None)
    mailbox.append(message(), frozenset(), None, None)
    status = store.status("a")
    assert (status.messages, status.unseen, status.uid_next) == (2, 1, 3)
    assert status.uid_validity == mailbox.uid_validity
    assert status.highest_modseq == mailbox.highest_modseq
    assert status.size == 2 * len(message())


def test_an_append_over_quota_is_refused_and_leaves_nothing(make_store: MakeStore) -> None:
    store = make_store(2 * len(message()) + 10)
    inbox = store.open("INBOX")
    uid = inbox.append(message(), frozenset(), None, None)
    inbox.append(message(), frozenset(), None, None)
    used, limit = store.quota()
    assert 0 < used <= limit == 2 * len(message()) + 10
    with pytest.raises(OverQuota):
        inbox.append(message(), frozenset(), None, None)
    with pytest.raises(OverQuota):
        inbox.copy([uid], "INBOX", None)
    assert len(inbox.rows()) == 2
    assert store.quota()[0] == used
    inbox.expunge([uid], None)
    inbox.append(message(), frozenset(), None, None)
