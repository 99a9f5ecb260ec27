"""UIDs and UIDVALIDITY across restarts, crashes, damage and restored files."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from posthouse.core.identifiers import Uid
from posthouse.store.interface import Cached, FlagChange, StorageFailed
from posthouse.store.maildir import index as index_module
from posthouse.store.maildir.environment import Environment
from posthouse.store.maildir.location import BadLocation, MailLocation, parse_location
from posthouse.store.maildir.store import MaildirStore
from tests.store.maildir.test_foreign_writers import TEXT, WIRE, drop

MakeStore = Callable[..., MaildirStore]


def snapshot(store: MaildirStore, name: str = "INBOX") -> list[tuple[int, bytes | None, frozenset[str]]]:
    mailbox = store.open(name)
    return [(row.uid, mailbox.content(row.uid), row.flags) for row in mailbox.rows()]


def test_everything_is_the_same_after_a_restart(make_store: MakeStore) -> None:
    store = make_store()
    store.create("a/b")
    mailbox = store.open("a/b")
    for number in range(5):
        mailbox.append(WIRE + b"%d\r\n" % number, frozenset({"\\Seen", "Key"}), 1e9 + number, None)
    mailbox.expunge([Uid(2)], None)
    mailbox.store_flags([Uid(3)], FlagChange.REPLACE, frozenset({"\\Flagged"}), None)
    mailbox.claim_recent(False)
    before = (
        snapshot(store, "a/b"),
        mailbox.uid_validity,
        mailbox.uid_next,
        mailbox.highest_modseq,
        list(mailbox.rows()),
    )
    store = make_store()
    mailbox = store.open("a/b")
    after = (
        snapshot(store, "a/b"),
        mailbox.uid_validity,
        mailbox.uid_next,
        mailbox.highest_modseq,
        list(mailbox.rows()),
    )
    assert after == before
    assert mailbox.claim_recent(True) == frozenset()


def test_uids_of_dovecot_are_kept(make_store: MakeStore, root: Path) -> None:
    for name in ("1.a.host,S=3", "2.b.host", "3.c.host", "0.unlisted.host"):
        drop(root, name + ":2,S", "cur")
    drop(root, "9.recent.host")
    (root / "dovecot-keywords").write_text("0 Work\n")
    (root / "dovecot-uidlist").write_text(
        "3 V12345 N20 Gabc\n3 :1.a.host,S=3:2,\n7 W77 :2.b.host\n9 :gone.host\n12 :3.c.host:2,Sa\n"
    )
    inbox = make_store().open("INBOX")
    assert inbox.uid_validity == 12345
    assert [row.uid for row in inbox.rows()] == [3, 7, 12, 20, 21]
    assert inbox.content(Uid(12)) == WIRE
    assert inbox.rows()[1].size == 77
    assert inbox.claim_recent(False) >= {21}
    # A second time it is our index that counts.
    (root / "dovecot-uidlist").unlink()
    inbox = make_store().open("INBOX")
    assert (inbox.uid_validity, [row.uid for row in inbox.rows()]) == (12345, [3, 7, 12, 20, 21])


def test_a_uid_list_that_is_none_is_reported_and_messages_get_new_uids(
    make_store: MakeStore, root: Path, reports: list[str]
) -> None:
    drop(root, "1.a.host")
    (root / "dovecot-uidlist").write_text("gibberish\n")
    assert [row.uid for row in make_store().open("INBOX").rows()] == [1]
    assert any("dovecot-uidlist is not usable" in line for line in reports)


@pytest.mark.parametrize("damage", ["header", "middle", "empty", "text"])
def test_a_damaged_index_is_set_aside_and_rebuilt(
    make_store: MakeStore, root: Path, reports: list[str], damage: str
) -> None:
    store = make_store()
    inbox = store.open("INBOX")
    for _ in range(300):
        inbox.append(WIRE, frozenset({"\\Seen"}), None, None)
    list(inbox.cached([row.uid for row in inbox.rows()], Cached.ENVELOPE))
    validity = inbox.uid_validity
    store.close()
    path = root / "posthouse.index"
    data = bytearray(path.read_bytes())
    if damage == "header":
        data[:100] = b"x" * 100
    elif damage == "middle":
        data[4096:] = b"\xff" * (len(data) - 4096)
    elif damage == "empty":
        data.clear()
    else:
        data[:] = b"this is no database\n" * 100
    path.write_bytes(bytes(data))
    store = make_store()
    try:
        rows = store.open("INBOX").rows()
    except StorageFailed:
        # Found only while reading: the next open starts anew.
        rows = store.open("INBOX").rows()
    assert len(rows) == 300
    assert all(row.flags == {"\\Seen"} for row in rows)
    assert store.open("INBOX").uid_validity > validity
    if damage != "empty":
        assert any("damaged" in line for line in reports)
        assert list(root.glob("posthouse.index.damaged-*"))


def test_a_lost_index_never_gives_a_uid_validity_again(make_store: MakeStore, root: Path) -> None:
    seen = []
    for _ in range(3):
        seen.append(make_store().open("INBOX").uid_validity)
        make_store().close()
        for path in root.glob("posthouse.index*"):
            path.unlink()
    assert seen == sorted(set(seen))


def test_after_a_power_cut_that_lost_the_last_rows_no_uid_names_two_messages(
    make_store: MakeStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was on disk is a copy of the index from before; files of the later messages may be there or not."""
    store = make_store()
    inbox = store.open("INBOX")
    inbox.append(WIRE, frozenset(), None, None)
    store.close()
    kept = root.with_name("kept")
    kept.mkdir()
    for path in root.glob("posthouse.index*"):
        shutil.copy(path, kept)
    inbox = make_store().open("INBOX")
    shown = [inbox.append(WIRE + b"%d\r\n" % number, frozenset(), None, None) for number in range(10)]
    modseq = inbox.highest_modseq
    make_store().close()
    for path in kept.iterdir():
        shutil.copy(path, root)
    monkeypatch.setattr(index_module, "BOOT", "after the power cut")
    inbox = make_store().open("INBOX")
    assert inbox.rows()[0].uid == 1
    assert not {row.uid for row in inbox.rows()} & set(shown)
    assert inbox.uid_next > max(shown)
    assert inbox.highest_modseq > modseq


def test_more_uids_than_a_block_stay_reserved_ahead(make_store: MakeStore, root: Path) -> None:
    inbox = make_store().open("INBOX")
    for _ in range(1300):
        inbox.append(WIRE, frozenset(), None, None)
        assert inbox.uid_next <= inbox.durable_uid + 1
    with sqlite3.connect(root / "posthouse.index") as db:
        ((reserved, following),) = db.execute("SELECT uid_reserved, uid_next FROM mailbox")
    assert reserved >= following > 1300


def test_two_processes_cannot_open_one_index(store: MaildirStore, root: Path) -> None:
    store.open("INBOX")
    code = (
        "import sys; from posthouse.store.flush import Volumes\n"
        "from posthouse.store.maildir.environment import Environment\n"
        "from posthouse.store.maildir.location import MailLocation\n"
        "from posthouse.store.maildir.store import MaildirStore\n"
        "from posthouse.store.interface import StorageFailed\n"
        "from posthouse.core.identifiers import DeliveryId\n"
        "other = MaildirStore(MailLocation(sys.argv[1]), Environment(Volumes()))\n"
        "other.deliver(b'Subject: x\\r\\n\\r\\n', DeliveryId('otherz0.0.0'), 'INBOX', False)\n"
        "try:\n    other.open('INBOX')\nexcept StorageFailed as error:\n    print(error.detail)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, str(root)], capture_output=True, text=True, timeout=30, check=True
    )
    assert "locked by another process" in answer.stdout
    inbox = store.open("INBOX")
    inbox.refresh()
    assert len(inbox.rows()) == 1


def test_the_write_ahead_log_is_copied_back(make_store: MakeStore, root: Path, environment: Environment) -> None:
    inbox = make_store().open("INBOX")
    sizes = []
    for _ in range(40):
        inbox.append(b"Subject: x\r\nX-Long: " + b"y" * 50_000 + b"\r\n\r\n", frozenset(), None, None)
        for _ in inbox.cached([row.uid for row in inbox.rows()][-1:], Cached.HEADER):
            pass
        environment.volumes.executor.submit(int).result()
        sizes.append((root / "posthouse.index-wal").stat().st_size)
    for _ in range(30):
        inbox.store_flags([Uid(1)], FlagChange.ADD, frozenset({f"k{len(sizes)}"}), None)
        sizes.append((root / "posthouse.index-wal").stat().st_size)
    make_store().close()
    assert not (root / "posthouse.index-wal").exists()
    assert max(sizes) < 20 * 1024 * 1024


def test_a_store_that_was_closed_can_be_used_no_more_and_opened_again(make_store: MakeStore) -> None:
    first = make_store()
    inbox = first.open("INBOX")
    inbox.append(WIRE, frozenset(), None, None)
    first.close()
    assert first.idle
    assert len(make_store().open("INBOX").rows()) == 1


def test_an_unused_mailbox_gives_its_memory_back_and_comes_again(make_store: MakeStore, root: Path) -> None:
    store = make_store()
    inbox = store.open("INBOX")
    inbox.append(WIRE, frozenset({"Key"}), None, None)
    stop = inbox.listen(lambda event: None)
    store.tidy(-1)
    assert inbox.loaded
    stop()
    store.tidy(-1)
    assert not inbox.loaded
    drop(root, "1.a.host")
    assert [row.uid for row in inbox.rows()] == [1, 2]
    assert inbox.content(Uid(1)) == WIRE


def test_only_new_messages_make_no_status_slow(make_store: MakeStore, root: Path) -> None:
    inbox = make_store().open("INBOX")
    inbox.append(WIRE, frozenset({"\\Seen"}), None, None)
    for part in ("new", "cur"):
        os.utime(root / part, (1e9, 1e9))
    inbox.refresh()
    store = make_store()
    drop(root, "5.x.host")
    status = store.status("INBOX")
    assert (status.messages, status.unseen, status.recent) == (2, 1, 2)
    assert [row.uid for row in store.open("INBOX").rows()] == [1, 2]


def test_locations_of_dovecot() -> None:
    assert parse_location("maildir:~/Maildir", "/home/u") == MailLocation("/home/u/Maildir")
    assert parse_location("maildir:/var/mail/u:INDEX=/idx/u:LAYOUT=Maildir++", "") == MailLocation(
        "/var/mail/u", "/idx/u"
    )
    assert parse_location("/var/mail/u/", "") == MailLocation("/var/mail/u")
    for bad in ("mbox:/var/mail/u", "maildir:relative", "maildir:/x:LAYOUT=fs", "maildir:/x:INBOX=/y"):
        with pytest.raises(BadLocation):
            parse_location(bad, "/home/u")


def test_an_index_apart_from_the_mail(tmp_path: Path, environment: Environment) -> None:
    location = MailLocation(str(tmp_path / "Maildir"), str(tmp_path / "index/u"))
    store = MaildirStore(location, environment)
    store.open("INBOX").append(WIRE, frozenset(), None, None)
    store.close()
    assert (tmp_path / "index/u/posthouse.index").exists()
    assert not list((tmp_path / "Maildir").glob("posthouse*"))
    assert next((tmp_path / "Maildir/cur").iterdir()).read_bytes() == TEXT


def test_answers_to_header_lists_are_kept_until_their_messages_go(make_store: MakeStore, root: Path) -> None:
    store = make_store()
    inbox = store.open("INBOX")
    uids = [inbox.append(WIRE, frozenset(), None, None) for _ in range(4)]
    texts = [b"text %d" % uid for uid in uids]
    assert inbox.all_fields(uids, b"+from") is None
    inbox.keep_fields(uids, texts, b"+from")
    assert inbox.all_fields(uids, b"+from") == texts
    assert inbox.all_fields(uids[1:3], b"+from") == texts[1:3]
    assert inbox.all_fields(uids, b"-from") is None
    new = inbox.append(WIRE, frozenset(), None, None)
    assert inbox.all_fields([*uids, new], b"+from") is None
    inbox.expunge([uids[1]], None)
    assert inbox.all_fields(uids, b"+from") is None
    inbox = make_store().open("INBOX")
    assert inbox.all_fields(uids[2:], b"+from") == texts[2:]
    assert inbox.all_fields([uids[0], uids[2]], b"+from") is not None
    store = make_store()
    store.create("other")
    store.open("other").keep_fields([Uid(1)], [b"x"], b"+from")
    store.delete("other")
    index = sqlite3.connect(root / "posthouse.index")
    assert index.execute("SELECT count(DISTINCT mailbox) FROM fields").fetchone() == (1,)
    index.close()


def test_the_header_list_asked_for_longest_ago_gives_way(make_store: MakeStore) -> None:
    inbox = make_store().open("INBOX")
    uid = inbox.append(WIRE, frozenset(), None, None)
    for number in range(index_module.MAX_LISTS + 2):
        inbox.keep_fields([uid], [b"%d" % number], b"+%d" % number)
    known = [inbox.all_fields([uid], b"+%d" % number) for number in range(index_module.MAX_LISTS + 2)]
    assert known[:2] == [None, None]
    assert known[2:] == [[b"%d" % number] for number in range(2, index_module.MAX_LISTS + 2)]


def test_a_header_list_in_use_stays_however_long_ago_it_was_new(make_store: MakeStore, root: Path) -> None:
    inbox = make_store().open("INBOX")
    uid = inbox.append(WIRE, frozenset(), None, None)
    for number in range(index_module.MAX_LISTS):
        inbox.keep_fields([uid], [b"%d" % number], b"+%d" % number)
    store = make_store()
    store.close()
    with sqlite3.connect(root / "posthouse.index") as index:
        index.execute("UPDATE header_list SET asked = asked - 100000")
    index.close()
    inbox = make_store().open("INBOX")
    assert inbox.all_fields([uid], b"+0") == [b"0"]
    inbox.keep_fields([uid], [b"new"], b"+new")
    assert inbox.all_fields([uid], b"+0") == [b"0"]
    assert inbox.all_fields([uid], b"+1") is None


def rested(store: MaildirStore) -> None:
    """Its index has no connection now."""
    index = store.need_index()
    index.rest(0.0)
    assert index._connection is None


def test_a_resting_index_wakes_up_as_it_was(make_store: MakeStore, root: Path) -> None:
    store = make_store()
    inbox = store.open("INBOX")
    first = inbox.append(WIRE, frozenset(), None, None)
    rested(store)
    second = inbox.append(WIRE, frozenset(), None, None)
    assert second == first + 1, "numbers were not jumped over"
    rested(store)
    inbox.store_flags([first], FlagChange.ADD, frozenset({"\\Seen", "$odd"}), None)
    rested(store)
    assert [(row.uid, "\\Seen" in row.flags) for row in inbox.rows()] == [(first, True), (second, False)]
    assert dict(inbox.cached([first], Cached.ENVELOPE)).keys() == {first}
    rested(store)
    inbox.expunge([first], None)
    store.flush_now()
    rested(store)
    store.close()
    again = make_store().open("INBOX")
    assert [row.uid for row in again.rows()] == [second]
    assert again.uid_next == second + 1, "the stop was clean"


def test_an_index_at_work_does_not_rest(make_store: MakeStore) -> None:
    store = make_store()
    index = store.need_index()
    with index.grouped():
        store.open("INBOX").append(WIRE, frozenset(), None, None)
        index.rest(0.0)
        assert index._connection is not None
    index.rest(60.0)
    assert index._connection is not None


@pytest.mark.parametrize("how", ["replaced", "removed"])
def test_an_index_that_is_another_file_after_its_rest_is_given_up(make_store: MakeStore, root: Path, how: str) -> None:
    """What is in memory is not about that one: sessions end, the next open begins anew, and no message is lost."""
    store = make_store()
    inbox = store.open("INBOX")
    inbox.append(WIRE, frozenset(), None, None)
    store.flush_now()
    rested(store)
    if how == "replaced":
        shutil.copy(root / "posthouse.index", root / "copy")
        os.rename(root / "copy", root / "posthouse.index")
    else:
        os.unlink(root / "posthouse.index")
    with pytest.raises(StorageFailed):
        inbox.append(WIRE, frozenset(), None, None)
    assert len(store.open("INBOX").rows()) >= 1
