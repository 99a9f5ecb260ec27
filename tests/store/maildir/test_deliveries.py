import asyncio
import errno
import os
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from posthouse.core.identifiers import DeliveryId
from posthouse.store.interface import SEEN, FlagChange, MailboxEvent, StorageFailed
from posthouse.store.maildir.environment import Environment
from posthouse.store.maildir.mailbox import MaildirMailbox
from posthouse.store.maildir.store import MaildirStore
from tests.store.maildir.test_foreign_writers import TEXT, WIRE, drop, only

MakeStore = Callable[..., MaildirStore]
FIRST = DeliveryId("4bXyZ1abcdz0.0.0")


def test_a_delivery_costs_no_index(store: MaildirStore, root: Path) -> None:
    store.deliver(WIRE, FIRST, "INBOX", False)
    assert sorted(path.name for path in root.iterdir()) == ["cur", "new", "tmp"]
    path = only(root / "new")
    assert path.read_bytes() == TEXT
    assert f".{FIRST}." in path.name
    assert path.name.endswith(f",S={len(TEXT)},W={len(WIRE)}")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_delivery_is_found_in_cur_with_any_flags(make_store: MakeStore, root: Path) -> None:
    make_store().deliver(WIRE, FIRST, "INBOX", False)
    path = only(root / "new")
    path.rename(root / "cur" / (path.name + ":2,FS"))
    assert not make_store().deliver(WIRE, FIRST, "INBOX", True)
    assert list((root / "new").iterdir()) == []


@pytest.mark.parametrize("torn", [b"", TEXT[:-3], TEXT + b"x", TEXT.replace(b"body", b"\0\0\0\0")])
def test_a_file_with_other_content_is_no_delivery(
    make_store: MakeStore, root: Path, reports: list[str], torn: bytes
) -> None:
    make_store().deliver(WIRE, FIRST, "INBOX", False)
    only(root / "new").write_bytes(torn)
    assert make_store().deliver(WIRE, FIRST, "INBOX", True)
    assert only(root / "new").read_bytes() == TEXT
    assert any("incomplete delivery" in line for line in reports)


def test_a_torn_file_that_somebody_was_shown_is_replaced_under_a_new_uid(make_store: MakeStore, root: Path) -> None:
    make_store().deliver(WIRE, FIRST, "INBOX", False)
    only(root / "new").write_bytes(TEXT[:-3])
    store = make_store()
    inbox = store.open("INBOX")
    inbox.claim_recent(False)
    assert store.deliver(WIRE, FIRST, "INBOX", True)
    assert [(row.uid, inbox.content(row.uid)) for row in inbox.rows()] == [(2, WIRE)]


@pytest.mark.parametrize("is_indexed", [False, True])
@pytest.mark.parametrize("is_appended", [False, True])
def test_a_name_with_nothing_in_it_is_removed_when_nobody_delivers_it_again(
    make_store: MakeStore, root: Path, reports: list[str], is_appended: bool, is_indexed: bool
) -> None:
    """Left by a power cut: the sender was never told that it is stored."""
    store = make_store()
    inbox = store.open("INBOX")
    inbox.append(WIRE, frozenset(), None, None)
    if is_appended:
        inbox.append(WIRE, frozenset(), None, None)
    else:
        store.deliver(WIRE, FIRST, "INBOX", False)
    store.close()
    if not is_indexed:
        for path in root.glob("posthouse.index*"):
            path.unlink()
    torn = max(
        (path for part in ("new", "cur") for path in (root / part).iterdir()), key=lambda one: one.stat().st_mtime_ns
    )
    torn.write_bytes(b"")
    inbox = make_store().open("INBOX")
    shown = [inbox.content(row.uid) for row in inbox.rows()]
    assert [one for one in shown if one is not None] == [WIRE]
    assert len(list(inbox.rows())) == 1
    assert not torn.exists()
    assert any("as a power cut leaves it" in line for line in reports)


@pytest.mark.parametrize("how", ["expunge", "move", "delete", "rename"])
def test_what_was_removed_stays_removed_after_a_restart(make_store: MakeStore, root: Path, how: str) -> None:
    store = make_store()
    store.create("box")
    store.create("other")
    store.deliver(WIRE, FIRST, "box", False)
    box = store.open("box")
    uids = [row.uid for row in box.rows()]
    if how == "expunge":
        box.expunge(uids, None)
    elif how == "move":
        box.move(uids, "other", None)
    elif how == "delete":
        store.delete("box")
    else:
        store.rename("box", "renamed")
    store = make_store()
    if how in ("delete", "rename"):
        store.create("box")
    assert not store.deliver(WIRE, FIRST, "box", True)
    assert len(store.open("box").rows()) == 0


def test_the_file_goes_only_after_its_tombstone_is_on_disk(store: MaildirStore, root: Path) -> None:
    async def run() -> None:
        store.deliver(WIRE, FIRST, "INBOX", False)
        inbox = store.open("INBOX")
        assert list(inbox.expunge([row.uid for row in inbox.rows()], None)) == [1]
        # For everybody here it is gone; on disk it waits.
        assert list(inbox.rows()) == []
        inbox.refresh()
        assert list(inbox.rows()) == []
        assert only(root / "new")
        await store.flush()
        assert list((root / "new").iterdir()) == []
        inbox.refresh()
        await asyncio.sleep(0)

    asyncio.run(run())


def test_a_reader_that_renames_the_waiting_file_does_not_save_it(store: MaildirStore, root: Path) -> None:
    async def run() -> None:
        store.deliver(WIRE, FIRST, "INBOX", False)
        inbox = store.open("INBOX")
        inbox.expunge([row.uid for row in inbox.rows()], None)
        path = only(root / "new")
        path.rename(root / "cur" / (path.name + ":2,S"))
        await store.flush()
        assert list((root / "cur").iterdir()) == []

    asyncio.run(run())


def test_retired_deliveries_go_at_once_and_leave_nothing_behind(store: MaildirStore, root: Path) -> None:
    async def run() -> None:
        store.deliver(WIRE, FIRST, "INBOX", False)
        store.retired([FIRST])
        inbox = store.open("INBOX")
        inbox.expunge([row.uid for row in inbox.rows()], None)
        assert list((root / "new").iterdir()) == []

    asyncio.run(run())
    assert store.need_index().buried() == set()


def test_a_tombstone_goes_when_the_delivery_is_retired(store: MaildirStore) -> None:
    store.deliver(WIRE, FIRST, "INBOX", False)
    inbox = store.open("INBOX")
    inbox.expunge([row.uid for row in inbox.rows()], None)
    assert store.need_index().buried() == {FIRST}
    store.retired([FIRST])
    assert store.need_index().buried() == set()


def test_old_deliveries_and_files_of_others_need_no_tombstone(
    store: MaildirStore, root: Path, environment: Environment
) -> None:
    long_ago = int(environment.known_since_s - 6 * 86400)
    drop(root, f"{long_ago}.4bXyZ1abcdz0.0.0.host,S={len(TEXT)}")
    drop(root, "1795440186.M123P456.host")
    inbox = store.open("INBOX")
    inbox.expunge([row.uid for row in inbox.rows()], None)
    assert store.need_index().buried() == set()
    assert list((root / "new").iterdir()) == []


def test_after_a_failed_flush_what_is_in_the_page_cache_is_not_believed(
    store: MaildirStore, root: Path, reports: list[str]
) -> None:
    async def run() -> None:
        store.deliver(WIRE, FIRST, "INBOX", False)
        # The kernel reported an error to somebody else's flush of the same file system.
        store.volume._failed()
        with pytest.raises(StorageFailed):
            await store.flush()
        assert store.deliver(WIRE, FIRST, "INBOX", True)
        assert only(root / "new").read_bytes() == TEXT
        await store.flush()

    asyncio.run(run())
    assert any("written anew" in line for line in reports)


def test_what_is_written_anew_after_a_failed_flush_keeps_its_uid_and_the_flags_it_got_meanwhile(
    store: MaildirStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run() -> None:
        store.deliver(WIRE, FIRST, "INBOX", False)
        inbox = store.open("INBOX")
        inbox.claim_recent(False)
        [before] = inbox.rows()
        inbox.store_flags([before.uid], FlagChange.ADD, frozenset({SEEN}), None)
        inode = only(root / "cur").stat().st_ino
        store.volume._failed()
        with pytest.raises(StorageFailed):
            await store.flush()
        with monkeypatch.context() as broken:
            broken.setattr(os, "unlink", _refuse)
            with pytest.raises(StorageFailed):
                store.withdraw([FIRST])
        assert store.deliver(WIRE, FIRST, "INBOX", False)
        assert only(root / "cur").stat().st_ino != inode
        await store.flush()
        [after] = store.open("INBOX").rows()
        assert (after.uid, after.flags) == (before.uid, {SEEN})
        assert inbox.content(after.uid) == WIRE

    asyncio.run(run())


def test_a_withdrawn_delivery_leaves_no_file(store: MaildirStore, root: Path) -> None:
    store.deliver(WIRE, FIRST, "INBOX", False)
    inbox = store.open("INBOX")
    inbox.claim_recent(False)
    store.withdraw([FIRST])
    assert list((root / "new").iterdir()) == list((root / "cur").iterdir()) == []
    assert list(inbox.rows()) == []


def _refuse(*_: object, **__: object) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def test_a_delivery_that_cannot_be_taken_back_is_not_made_twice(
    store: MaildirStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.deliver(WIRE, FIRST, "INBOX", False)
    with monkeypatch.context() as broken:
        broken.setattr(os, "unlink", _refuse)
        with pytest.raises(StorageFailed):
            store.withdraw([FIRST])
    store.deliver(WIRE, FIRST, "INBOX", False)
    assert only(root / "new").read_bytes() == TEXT


def test_a_delivery_taken_back_while_the_directory_could_not_be_read_is_shown_once(
    store: MaildirStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = store.open("INBOX")
    list(inbox.rows())
    store.deliver(WIRE, FIRST, "INBOX", False)
    first = [row.uid for row in inbox.rows()]
    with monkeypatch.context() as broken:
        broken.setattr(MaildirMailbox, "refresh_now", _refuse)
        with pytest.raises(StorageFailed):
            store.withdraw([FIRST])
    store.deliver(WIRE, FIRST, "INBOX", False)
    assert only(root / "new").read_bytes() == TEXT
    [row] = inbox.rows()
    assert row.uid > first[0]


def test_a_removed_delivery_stays_hidden_until_its_file_can_be_removed(
    store: MaildirStore, root: Path, reports: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.deliver(WIRE, FIRST, "INBOX", False)
    inbox = store.open("INBOX")
    [row] = inbox.rows()
    with monkeypatch.context() as broken:
        broken.setattr(os, "unlink", _refuse)
        inbox.expunge([row.uid], None)
        store.flush_now()
    assert any("cannot be removed yet" in line for line in reports)
    assert list(store.open("INBOX").rows()) == []
    store.deliver(WIRE, FIRST, "INBOX", False)  # the queue asks again, and it is done
    store.flush_now()
    assert list((root / "new").iterdir()) == list((root / "cur").iterdir()) == []


def test_what_an_expunge_removed_before_it_failed_is_gone_and_everybody_hears_of_it(
    store: MaildirStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.deliver(WIRE, FIRST, "INBOX", False)
    inbox = store.open("INBOX")
    delivered, appended = inbox.rows()[0].uid, inbox.append(WIRE, frozenset(), None, None)
    heard: list[MailboxEvent] = []
    assert isinstance(inbox, MaildirMailbox)
    inbox.listeners.add(heard.append)
    with monkeypatch.context() as broken:
        broken.setattr(os, "unlink", _refuse)
        with pytest.raises(StorageFailed):
            inbox.expunge([delivered, appended], heard)
    assert [row.uid for row in inbox.rows()] == [appended]
    store.flush_now()
    assert [row.uid for row in store.open("INBOX").rows()] == [appended]
    assert [(event.expunged, event.origin) for event in heard] == [((delivered,), None)]


def test_a_message_moved_right_after_its_delivery_is_in_one_place_at_every_moment(
    make_store: MakeStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store()
    store.create("Kept")
    store.deliver(WIRE, FIRST, "INBOX", False)
    inbox = store.open("INBOX")
    places: list[int] = []
    rename = os.rename

    def counted(source: str, target: str) -> None:
        rename(source, target)
        places.append(len([one for one in root.glob("**/*") if one.is_file() and ",S=" in one.name]))

    monkeypatch.setattr(os, "rename", counted)
    [(_, new)] = inbox.move([row.uid for row in inbox.rows()], "Kept", None)
    assert set(places) == {1}
    assert store.open("Kept").content(new) == WIRE
    assert not store.deliver(WIRE, FIRST, "INBOX", True)
    assert not make_store().deliver(WIRE, FIRST, "INBOX", True)


def test_many_recovered_deliveries_look_at_the_directory_once(make_store: MakeStore) -> None:
    store = make_store()
    ids = [DeliveryId(f"4bXyZ{number}z0.0.0") for number in range(500)]
    for one in ids:
        store.deliver(WIRE, one, "INBOX", False)
    store = make_store()
    assert not any(store.deliver(WIRE, one, "INBOX", True) for one in ids)
    assert store.deliver(WIRE, DeliveryId("4bXyZ999z0.0.0"), "INBOX", True)
    assert not store.deliver(WIRE, DeliveryId("4bXyZ999z0.0.0"), "INBOX", True)


def test_a_store_closed_before_the_queue_retired_its_deliveries_still_leaves_tombstones(
    make_store: MakeStore, environment: Environment
) -> None:
    environment.known_since_s -= 1000
    store = make_store()
    store.deliver(WIRE, FIRST, "INBOX", False)
    assert not store.idle
    store = make_store()
    inbox = store.open("INBOX")
    inbox.expunge([row.uid for row in inbox.rows()], None)
    assert not store.deliver(WIRE, FIRST, "INBOX", True)


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("fails", ["rename", "index"])
def test_a_move_that_failed_does_not_make_a_taken_back_delivery_done(
    make_store: MakeStore, root: Path, monkeypatch: pytest.MonkeyPatch, fails: str, restarts: bool
) -> None:
    """Found by the torture (seed 9001): the tombstone of a MOVE that did not happen, then a failed flush."""
    store = make_store()
    store.create("Other")
    inbox = store.open("INBOX")
    list(inbox.rows())
    store.deliver(WIRE, FIRST, "INBOX", False)
    [row] = inbox.rows()
    with monkeypatch.context() as broken:
        if fails == "rename":
            broken.setattr(os, "rename", _refuse)
        else:
            broken.setattr(MaildirMailbox, "_transfer", _break_index)
        with pytest.raises(StorageFailed):
            inbox.move([row.uid], "Other", None)
    if restarts:
        store = make_store()
        store.deliver(WIRE, FIRST, "INBOX", True)  # it is found
    store.withdraw([FIRST])
    store = make_store()
    store.deliver(WIRE, FIRST, "INBOX", True)  # the next attempt: there, or written anew
    assert len(store.open("INBOX").rows()) == 1
    files = [*(root / "new").iterdir(), *(root / "cur").iterdir()]
    assert [file.read_bytes() for file in files] == [TEXT]


def _break_index(*_: object, **__: object) -> None:
    raise apsw.IOError("disk I/O error")
