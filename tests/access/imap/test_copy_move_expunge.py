"""COPY, MOVE, EXPUNGE, UID EXPUNGE and the numbers they tell."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from posthouse.core.identifiers import Uid
from posthouse.store.interface import StorageFailed, Store
from tests.access.conftest import message
from tests.access.wire import ImapWire


def test_copy_tells_the_new_uids(selected: ImapWire, store: Store) -> None:
    selected.say("CREATE Foo")
    validity = store.open("Foo").uid_validity
    assert selected.say("COPY 2:3,5 Foo") == [f"OK [COPYUID {validity} 2:3,5 1:3] Copy completed."]
    copied = store.open("Foo")
    assert [row.flags for row in copied.rows()] == [{"\\Flagged"}, {"\\Deleted"}, frozenset()]
    assert copied.content(Uid(1)) == message(2)


def test_copy_into_the_same_mailbox(selected: ImapWire) -> None:
    heard = selected.say("UID COPY 1 INBOX")
    assert heard[0] == "* 6 EXISTS"


def test_copy_of_nothing(selected: ImapWire) -> None:
    assert selected.say("UID COPY 99 INBOX") == ["OK No messages found."]
    assert selected.say("COPY 99 INBOX")[-1].startswith("BAD ")


@pytest.mark.parametrize("command", ["COPY", "MOVE", "UID COPY", "UID MOVE"])
def test_a_missing_target_may_be_created(selected: ImapWire, command: str) -> None:
    assert selected.say(f"{command} 1 none") == ["NO [TRYCREATE] Mailbox doesn't exist: none"]


def test_move_tells_the_uids_before_the_expunges(selected: ImapWire, store: Store) -> None:
    selected.say("CREATE Trash")
    validity = store.open("Trash").uid_validity
    assert selected.say("MOVE 2,4 Trash") == [
        f"* OK [COPYUID {validity} 2,4 1:2] Moved UIDs.",
        "* 4 EXPUNGE",
        "* 2 EXPUNGE",
        "* 3 RECENT",
        "OK Move completed.",
    ]
    assert [row.uid for row in store.open("INBOX").rows()] == [1, 3, 5]
    assert " expunged=2 trashed=2 " in selected.session.statistics_text()


def test_expunge_removes_what_is_deleted(selected: ImapWire, connect: Callable[..., ImapWire]) -> None:
    other = connect()
    other.say("SELECT INBOX")
    selected.say(r"STORE 1,5 +FLAGS.SILENT (\Deleted)")
    assert selected.say("EXPUNGE") == [
        "* 5 EXPUNGE",
        "* 3 EXPUNGE",
        "* 1 EXPUNGE",
        "* 2 RECENT",
        "OK Expunge completed.",
    ]
    assert other.say("FETCH 1 UID") == ["* 1 FETCH (UID 1)", "OK Fetch completed."]
    assert other.say("SEARCH ALL") == ["* SEARCH 1 2 3 4 5", "OK Search completed."]
    assert other.say("NOOP") == ["* 5 EXPUNGE", "* 3 EXPUNGE", "* 1 EXPUNGE", "OK NOOP completed."]


def test_uid_expunge_touches_only_what_is_named(selected: ImapWire, store: Store) -> None:
    selected.say(r"STORE 1:* +FLAGS.SILENT (\Deleted)")
    assert selected.say("UID EXPUNGE 2:3,99")[:2] == ["* 3 EXPUNGE", "* 2 EXPUNGE"]
    assert [row.uid for row in store.open("INBOX").rows()] == [1, 4, 5]


def test_copy_of_messages_that_vanished_copies_none(selected: ImapWire, store: Store) -> None:
    selected.say("CREATE Foo")
    store.open("INBOX").expunge([Uid(2)], None)
    assert selected.say("COPY 1:3 Foo")[-1] == ("NO [EXPUNGEISSUED] Some of the requested messages no longer exist.")
    assert store.status("Foo").messages == 0


def test_a_copy_that_fails_half_way_leaves_nothing(
    selected: ImapWire, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = store.open("INBOX")
    for number in range(300):
        inbox.append(message(number), frozenset(), 0.0, None)
    selected.say("NOOP")
    selected.say("CREATE Foo")
    calls = 0
    kind = type(inbox)
    copy = kind.copy

    def fail_later(self: Any, uids: Sequence[Uid], target: str, origin: object) -> Sequence[tuple[Uid, Uid]]:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise StorageFailed("Not now")
        return copy(self, uids, target, origin)

    monkeypatch.setattr(kind, "copy", fail_later)
    assert b"a NO [SERVERBUG] Not now\r\n" in selected.send(b"a COPY 1:* Foo\r\n")
    assert store.status("Foo").messages == 0


@pytest.mark.parametrize("command", ["COPY", "COPY 1", "MOVE 1 a b", "COPY a INBOX", "UID EXPUNGE", "EXPUNGE 1"])
def test_wrong_arguments_are_bad(selected: ImapWire, command: str) -> None:
    assert selected.say(command)[-1].startswith("BAD ")
