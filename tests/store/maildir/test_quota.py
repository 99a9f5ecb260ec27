import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from posthouse.core.identifiers import DeliveryId, Uid
from posthouse.store.interface import OverQuota
from posthouse.store.maildir.store import MaildirStore
from tests.store.maildir.test_foreign_writers import TEXT, WIRE, drop

MakeStore = Callable[..., MaildirStore]
LIMIT = 10 * len(TEXT)


def deliver(store: MaildirStore, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        store.deliver(WIRE, DeliveryId(f"4bXyZ{number}z0.0.0"), "INBOX", False)


def test_what_other_programs_wrote_is_counted_first(make_store: MakeStore, root: Path) -> None:
    drop(root, f"1.a.host,S={len(TEXT)}:2,", "cur")
    drop(root / ".Sent", "2.b.host:2,", "cur")
    store = make_store(LIMIT)
    deliver(store, 1)
    assert (root / "maildirsize").read_text() == f"{LIMIT}S\n{2 * len(TEXT)} 2\n{len(TEXT)} 1\n"
    assert store.quota() == (3 * len(TEXT), LIMIT)


def test_what_other_programs_add_to_maildirsize_counts(make_store: MakeStore, root: Path) -> None:
    store = make_store(LIMIT)
    deliver(store, 3)
    with open(root / "maildirsize", "a") as file:
        file.write(f"{7 * len(TEXT)} 7\n")
    with pytest.raises(OverQuota):
        deliver(store, 1, 50)
    assert len(list((root / "new").iterdir())) == 3


def test_another_limit_counts_anew(make_store: MakeStore, root: Path) -> None:
    deliver(make_store(LIMIT), 3)
    store = make_store(3 * len(TEXT))
    with pytest.raises(OverQuota):
        deliver(store, 1, 50)
    assert (root / "maildirsize").read_text().startswith(f"{3 * len(TEXT)}S\n")
    deliver(make_store(LIMIT), 1, 60)


def test_an_old_file_over_the_limit_is_not_believed(make_store: MakeStore, root: Path) -> None:
    store = make_store(LIMIT)
    deliver(store, 1)
    (root / "maildirsize").write_text(f"{LIMIT}S\n{LIMIT} 10\n")
    with pytest.raises(OverQuota):
        deliver(store, 1, 50)
    old = time.time() - 1000
    os.utime(root / "maildirsize", (old, old))
    deliver(store, 1, 60)
    assert store.quota()[0] == 2 * len(TEXT)


def test_a_file_that_grew_too_long_or_is_damaged_is_counted_anew(make_store: MakeStore, root: Path) -> None:
    store = make_store(100_000_000)
    deliver(store, 700)
    assert (root / "maildirsize").stat().st_size <= 5200
    assert store.quota()[0] == 700 * len(TEXT)
    (root / "maildirsize").write_text("100000000S\nnonsense\n")
    assert store.quota()[0] == 700 * len(TEXT)


def test_removing_and_copying_is_counted(make_store: MakeStore) -> None:
    store = make_store(LIMIT)
    store.create("a")
    inbox = store.open("INBOX")
    for _ in range(4):
        inbox.append(WIRE, frozenset(), None, None)
    inbox.copy([Uid(1), Uid(2)], "a", None)
    assert store.quota()[0] == 6 * len(TEXT)
    inbox.move([Uid(3)], "a", None)
    assert store.quota()[0] == 6 * len(TEXT)
    inbox.expunge([Uid(1)], None)
    assert store.quota()[0] == 5 * len(TEXT)
    store.delete("a")
    assert store.quota()[0] == 2 * len(TEXT)
    fresh = make_store(LIMIT)
    assert fresh.quota()[0] == 2 * len(TEXT)


def test_without_a_limit_nothing_is_written(make_store: MakeStore, root: Path) -> None:
    store = make_store()
    deliver(store, 2)
    assert store.quota() == (2 * len(TEXT), 0)
    assert not (root / "maildirsize").exists()
