"""Dovecot, Courier, mutt and delivery programs change the same Maildir without asking us."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from posthouse.core.identifiers import DeliveryId, Uid
from posthouse.store.interface import Cached, FlagChange, MailboxEvent
from posthouse.store.maildir import folder
from posthouse.store.maildir.store import MaildirStore

MakeStore = Callable[..., MaildirStore]
TEXT = b"Subject: x\n\nbody\n"
WIRE = TEXT.replace(b"\n", b"\r\n")


def drop(root: Path, name: str, part: str = "new", text: bytes = TEXT) -> Path:
    """As every delivery program does it."""
    for one in ("tmp", "new", "cur"):
        (root / one).mkdir(parents=True, exist_ok=True)
    (root / "tmp" / name.partition(":")[0]).write_bytes(text)
    return (root / "tmp" / name.partition(":")[0]).rename(root / part / name)


def only(path: Path) -> Path:
    (found,) = path.iterdir()
    return found


def test_a_file_dropped_in_new_is_a_recent_message(store: MaildirStore, root: Path) -> None:
    inbox = store.open("INBOX")
    events: list[MailboxEvent] = []
    inbox.listen(events.append)
    drop(root, "1000000000.1.host")
    inbox.refresh()
    (row,) = inbox.rows()
    assert (row.size, row.flags) == (len(WIRE), frozenset())
    assert inbox.content(row.uid) == WIRE
    assert [[row.uid for row in event.new] for event in events] == [[1]]
    assert inbox.claim_recent(False) == {1}
    assert only(root / "cur").name == "1000000000.1.host:2,"
    inbox.refresh()
    assert len(events) == 1


def test_flags_that_mutt_sets_are_ours_at_once(store: MaildirStore, root: Path) -> None:
    path = drop(root, "1.a.host:2,S", "cur")
    inbox = store.open("INBOX")
    assert inbox.rows()[0].flags == {"\\Seen"}
    events: list[MailboxEvent] = []
    inbox.listen(events.append)
    before = inbox.highest_modseq
    path.rename(root / "cur/1.a.host:2,FRST")
    inbox.refresh()
    assert inbox.rows()[0].flags == {"\\Flagged", "\\Answered", "\\Seen", "\\Deleted"}
    assert inbox.rows()[0].modseq > before
    assert [[row.uid for row in event.changed] for event in events] == [[1]]


def test_a_message_that_mutt_removes_is_expunged(store: MaildirStore, root: Path) -> None:
    drop(root, "1.a.host:2,S", "cur")
    path = drop(root, "2.b.host:2,S", "cur")
    inbox = store.open("INBOX")
    events: list[MailboxEvent] = []
    inbox.listen(events.append)
    path.unlink()
    inbox.refresh()
    assert [row.uid for row in inbox.rows()] == [1]
    assert [event.expunged for event in events] == [(2,)]


def test_our_changes_and_theirs_at_the_same_message(store: MaildirStore, root: Path) -> None:
    path = drop(root, "1.a.host:2,", "cur")
    inbox = store.open("INBOX")
    path.rename(root / "cur/1.a.host:2,F")
    # We have not looked since.
    (row,) = inbox.store_flags([Uid(1)], FlagChange.ADD, frozenset({"\\Seen"}), None)
    assert row.flags == {"\\Seen", "\\Flagged"}
    assert only(root / "cur").name == "1.a.host:2,FS"
    only(root / "cur").rename(root / "cur/1.a.host:2,R")
    assert inbox.content(Uid(1)) == WIRE
    only(root / "cur").rename(root / "cur/1.a.host:2,RT")
    assert inbox.expunge([Uid(1)], None) == (1,)
    assert list((root / "cur").iterdir()) == []


def test_a_message_that_vanished_is_no_error_anywhere(store: MaildirStore, root: Path) -> None:
    store.create("other")
    inbox = store.open("INBOX")
    for number in range(6):
        drop(root, f"{number}.a.host:2,", "cur")
    inbox.refresh()
    for path in (root / "cur").iterdir():
        path.unlink()
    assert inbox.store_flags([Uid(1)], FlagChange.ADD, frozenset({"\\Seen"}), None) == []
    assert inbox.content(Uid(2)) is None
    assert list(inbox.cached([Uid(3)], Cached.ENVELOPE)) == []
    assert list(inbox.copy([Uid(4)], "other", None)) == []
    assert list(inbox.move([Uid(5)], "other", None)) == []
    assert list(inbox.expunge([Uid(6)], None)) == []
    assert list(inbox.rows()) == []


def test_flags_we_set_are_where_others_look(store: MaildirStore, root: Path) -> None:
    inbox = store.open("INBOX")
    inbox.append(WIRE, frozenset({"\\Draft", "\\Seen", "Work", "$Label1"}), None, None)
    assert only(root / "cur").name.endswith(":2,DSab")
    assert (root / "dovecot-keywords").read_text() == "0 $Label1\n1 Work\n"
    inbox.store_flags([Uid(1)], FlagChange.REPLACE, frozenset({"Work"}), None)
    assert only(root / "cur").name.endswith(":2,b")


def test_keywords_that_dovecot_added_meanwhile_are_understood(store: MaildirStore, root: Path) -> None:
    inbox = store.open("INBOX")
    inbox.append(WIRE, frozenset({"First"}), None, None)
    (root / "dovecot-keywords").write_text("0 First\n1 Second\n")
    path = only(root / "cur")
    path.rename(path.with_name(path.name + "b"))
    inbox.refresh()
    assert inbox.rows()[0].flags == {"First", "Second"}
    inbox.store_flags([Uid(1)], FlagChange.ADD, frozenset({"Third"}), None)
    assert (root / "dovecot-keywords").read_text() == "0 First\n1 Second\n2 Third\n"


def test_a_keyword_file_locked_by_dovecot_loses_no_keyword(make_store: MakeStore, root: Path) -> None:
    inbox = make_store().open("INBOX")
    (root / "dovecot-uidlist.lock").write_bytes(b"")
    inbox.append(WIRE, frozenset({"Late"}), None, None)
    assert inbox.rows()[0].flags == {"Late"}
    assert not (root / "dovecot-keywords").exists()
    (root / "dovecot-uidlist.lock").unlink()
    assert make_store().open("INBOX").rows()[0].flags == {"Late"}


def test_letters_we_do_not_know_stay(store: MaildirStore, root: Path) -> None:
    drop(root, "1.a.host:2,P", "cur")
    inbox = store.open("INBOX")
    inbox.store_flags([Uid(1)], FlagChange.ADD, frozenset({"\\Seen"}), None)
    assert only(root / "cur").name == "1.a.host:2,PS"


def test_crlf_and_mixed_files_come_out_with_crlf(store: MaildirStore, root: Path) -> None:
    drop(root, "1.a.host:2,", "cur", b"Subject: x\r\n\r\none\ntwo\r\n")
    inbox = store.open("INBOX")
    assert inbox.content(Uid(1)) == b"Subject: x\r\n\r\none\r\ntwo\r\n"
    assert inbox.rows()[0].size == len(b"Subject: x\r\n\r\none\r\ntwo\r\n")


def test_a_size_in_the_name_that_lies_is_corrected(store: MaildirStore, root: Path) -> None:
    drop(root, "1.a.host,S=5,W=99:2,", "cur")
    inbox = store.open("INBOX")
    assert inbox.rows()[0].size == 99
    assert inbox.content(Uid(1)) == WIRE
    assert inbox.rows()[0].size == len(WIRE)
    assert store.status("INBOX").size == len(WIRE)


def test_what_happened_while_nobody_looked_is_found_at_the_next_open(make_store: MakeStore, root: Path) -> None:
    first = make_store()
    inbox = first.open("INBOX")
    for number in range(4):
        drop(root, f"{number}.a.host:2,", "cur")
    inbox.refresh()
    inbox.store_flags([Uid(4)], FlagChange.ADD, frozenset({"\\Seen"}), None)
    first.close()
    (root / "cur/0.a.host:2,").unlink()
    (root / "cur/1.a.host:2,").rename(root / "cur/1.a.host:2,F")
    drop(root, "9.new.host")
    assert make_store().status("INBOX").messages == 4
    again = make_store().open("INBOX")
    assert [(row.uid, row.flags) for row in again.rows()] == [
        (2, {"\\Flagged"}),
        (3, frozenset()),
        (4, {"\\Seen"}),
        (5, frozenset()),
    ]


def test_changes_within_one_tick_of_the_clock_are_not_missed(make_store: MakeStore, root: Path) -> None:
    """A directory changed twice within the granularity of its time shows the same time."""
    inbox = make_store().open("INBOX")
    for number in range(30):
        drop(root, f"{number}.a.host")
        inbox.refresh()
        drop(root, f"{number}.b.host")
        inbox.refresh()
        assert len(inbox.rows()) == 2 * number + 2
    inbox = make_store().open("INBOX")
    drop(root, "99.c.host")
    inbox.refresh()
    assert len(inbox.rows()) == 61


def test_no_message_is_lost_while_others_rename_all_the_time(store: MaildirStore, root: Path) -> None:
    for number in range(300):
        drop(root, f"{number}.a.host:2,", "cur")
    inbox = store.open("INBOX")
    gone: list[int] = []
    inbox.listen(lambda event: gone.extend(event.expunged))
    stop = threading.Event()

    def rename() -> None:
        flags = ""
        while not stop.is_set():
            after = "S" if flags == "" else ""
            for number in range(300):
                os.rename(root / f"cur/{number}.a.host:2,{flags}", root / f"cur/{number}.a.host:2,{after}")
            flags = after

    thread = threading.Thread(target=rename)
    thread.start()
    until = time.monotonic() + 1
    while time.monotonic() < until:
        inbox.refresh()
    stop.set()
    thread.join()
    inbox.refresh()
    assert gone == []
    assert [row.uid for row in inbox.rows()] == list(range(1, 301))


def test_the_same_message_in_new_and_cur_is_one(store: MaildirStore, root: Path) -> None:
    path = drop(root, "1.a.host")
    os.link(path, root / "cur/1.a.host:2,S")
    inbox = store.open("INBOX")
    assert [row.flags for row in inbox.rows()] == [{"\\Seen"}]
    path.unlink()
    inbox.refresh()
    assert [row.uid for row in inbox.rows()] == [1]


def test_a_folder_that_another_program_removes_ends(store: MaildirStore, root: Path) -> None:
    store.create("a")
    drop(root / ".a", "1.a.host")
    mailbox = store.open("a")
    (root / ".a").rename(root / ".b")
    assert {info.name for info in store.mailboxes()} == {"INBOX", "b"}
    assert len(store.open("b").rows()) == 1
    assert mailbox.name == "a"


def test_directories_that_are_no_folders_are_not_listed(store: MaildirStore, root: Path) -> None:
    store.open("INBOX")
    for name in (".ssh", "..hidden", ".a..b", ".trailing.", "plain", ".&bad-"):
        (root / name).mkdir()
    for name in ("..hidden", ".a..b", ".trailing.", "plain", ".&bad-", ".Gr\u00fc\u00dfe"):
        (root / name / "cur").mkdir(parents=True)
    assert {info.name for info in store.mailboxes()} == {"INBOX", "&bad-", "Gr\u00fc\u00dfe"}
    drop(root / ".&bad-", "1.a.host")
    drop(root / ".Gr\u00fc\u00dfe", "1.a.host")
    assert len(store.open("&bad-").rows()) == len(store.open("Gr\u00fc\u00dfe").rows()) == 1


def test_tmp_is_cleaned_of_what_was_left_long_ago(make_store: MakeStore, root: Path) -> None:
    make_store().open("INBOX")
    old, fresh = root / "tmp/old", root / "tmp/fresh"
    old.write_bytes(b"")
    fresh.write_bytes(b"")
    os.utime(old, (1, 1))
    drop(root, "1.a.host")
    make_store().open("INBOX")
    assert not old.exists()
    assert fresh.exists()


def test_new_and_cur_that_are_missing_are_made(store: MaildirStore, root: Path) -> None:
    (root / "cur").mkdir(parents=True)
    store.deliver(WIRE, DeliveryId("qz0.0.0"), "INBOX", False)
    assert len(store.open("INBOX").rows()) == 1


@pytest.mark.parametrize("environment", ["inotify"], indirect=True)
@pytest.mark.parametrize("work", ["flags", "expunge"])
def test_what_others_do_during_many_changes_of_ours_is_told_at_their_end(
    store: MaildirStore, root: Path, work: str
) -> None:
    """The kernel's reports are off meanwhile: a session in IDLE would wait for the next of them."""
    inbox = store.open("INBOX")
    uids = [inbox.append(WIRE, frozenset(), None, None) for _ in range(folder.MANY_CHANGES)]
    events: list[MailboxEvent] = []
    us = object()
    inbox.refresh()
    inbox.listen(events.append)
    drop(root, "1000000000.1.host")
    if work == "flags":
        inbox.store_flags(uids, FlagChange.ADD, frozenset({"\\Seen"}), us)
    else:
        inbox.expunge(uids, us)
    (new,) = [row for event in events for row in event.new]
    assert new.uid not in uids
    ours = [event for event in events if event.origin is us]
    others = [event for event in events if event.origin is not us]
    assert [len(event.changed) + len(event.expunged) for event in ours] == [len(uids)]
    assert all(not event.changed and not event.expunged for event in others), "told twice"
