import pytest

from posthouse.store.interface import InvalidName, MailboxExists, MailboxNotFound, Store
from tests.store.conformance.messages import message


def names(store: Store) -> dict[str, bool]:
    return {info.name: info.selectable for info in store.mailboxes()}


def test_inbox_always_exists_in_any_case(store: Store) -> None:
    assert names(store) == {"INBOX": True}
    assert store.open("inbox") is store.open("INBOX")
    assert store.open("INBOX").name == "INBOX"


def test_opening_what_does_not_exist_is_refused(store: Store) -> None:
    with pytest.raises(MailboxNotFound):
        store.open("nowhere")
    with pytest.raises(MailboxNotFound):
        store.status("nowhere")


def test_a_created_mailbox_is_listed_and_its_superior_is_only_a_name(store: Store) -> None:
    store.create("Work/2026")
    assert names(store) == {"INBOX": True, "Work": False, "Work/2026": True}
    by_name = {info.name: info for info in store.mailboxes()}
    assert by_name["Work"].has_children
    assert not by_name["Work/2026"].has_children
    store.create("Work")
    assert names(store)["Work"]


def test_a_trailing_separator_says_only_that_more_will_come(store: Store) -> None:
    store.create("Work/")
    assert names(store)["Work"]


def test_creating_twice_is_refused(store: Store) -> None:
    store.create("Work")
    with pytest.raises(MailboxExists):
        store.create("Work")
    with pytest.raises(MailboxExists):
        store.create("inbox")


@pytest.mark.parametrize(
    "name", ["", "a//b", "/a", "a\x00b", "a\nb", "x" * 300, "a*", "a%b", "/".join("abcdefghijklmnopqrstuvwxyz")]
)
def test_a_name_that_cannot_be_is_refused(store: Store, name: str) -> None:
    with pytest.raises(InvalidName):
        store.create(name)


@pytest.mark.parametrize(
    "name", ["Übung", "收件箱/归档", "a & b", "~home", "-", "a b", "INBOX/below", "&AMD-", "日本語"]
)
def test_names_of_all_the_world_come_back_as_they_were(store: Store, name: str) -> None:
    store.create(name)
    assert name in names(store)
    assert store.open(name).name == name


def test_deleting_removes_the_mailbox_and_keeps_those_below(store: Store) -> None:
    store.create("a")
    store.create("a/b")
    store.open("a").append(message(), frozenset(), None, None)
    store.delete("a")
    assert names(store) == {"INBOX": True, "a": False, "a/b": True}
    store.delete("a/b")
    assert names(store) == {"INBOX": True}
    with pytest.raises(MailboxNotFound):
        store.delete("a/b")
    with pytest.raises(InvalidName):
        store.delete("INBOX")


def test_a_mailbox_made_again_has_another_uid_validity(store: Store) -> None:
    store.create("a")
    first = store.open("a").uid_validity
    store.delete("a")
    store.create("a")
    assert store.open("a").uid_validity > first


def test_every_mailbox_has_its_own_uid_validity(store: Store) -> None:
    store.create("a")
    store.create("b")
    assert len({store.open(name).uid_validity for name in ("INBOX", "a", "b")}) == 3


def test_renaming_takes_what_is_below_along_and_keeps_uids(store: Store) -> None:
    store.create("a")
    store.create("a/b")
    uid = store.open("a").append(message("one"), frozenset({"\\Seen"}), None, None)
    validity = store.open("a").uid_validity
    store.rename("a", "x/y")
    assert names(store) == {"INBOX": True, "x": False, "x/y": True, "x/y/b": True}
    moved = store.open("x/y")
    assert moved.uid_validity == validity
    assert moved.content(uid) == message("one")
    assert moved.rows()[0].flags == {"\\Seen"}


def test_a_name_that_only_has_mailboxes_below_it_can_be_renamed(store: Store) -> None:
    store.create("a/b")
    store.rename("a", "z")
    assert names(store) == {"INBOX": True, "z": False, "z/b": True}


def test_renaming_onto_an_existing_mailbox_below_itself_or_from_nowhere_is_refused(store: Store) -> None:
    store.create("a")
    store.create("b")
    with pytest.raises(MailboxExists):
        store.rename("a", "b")
    with pytest.raises(InvalidName):
        store.rename("a", "a/b")
    with pytest.raises(MailboxNotFound):
        store.rename("nowhere", "c")


def test_renaming_inbox_moves_its_messages_and_leaves_it_empty(store: Store) -> None:
    store.create("INBOX/below")
    inbox = store.open("INBOX")
    inbox.append(message("one"), frozenset({"\\Flagged"}), None, None)
    store.rename("INBOX", "old")
    assert list(inbox.rows()) == []
    old = store.open("old")
    assert [old.content(row.uid) for row in old.rows()] == [message("one")]
    assert old.rows()[0].flags == {"\\Flagged"}
    assert names(store) == {"INBOX": True, "INBOX/below": True, "old": True}


def test_subscriptions_do_not_need_a_mailbox(store: Store) -> None:
    store.create("a")
    store.subscribe("a", True)
    store.subscribe("gone/ünder", True)
    assert list(store.subscriptions()) == ["a", "gone/ünder"]
    assert [info.name for info in store.mailboxes() if info.subscribed] == ["a"]
    store.subscribe("a", False)
    store.subscribe("never", False)
    assert list(store.subscriptions()) == ["gone/ünder"]


def test_special_use_is_remembered_and_follows_a_rename(store: Store) -> None:
    store.create("Gesendet", "\\Sent")
    store.create("Drafts")
    store.rename("Gesendet", "Sent/alt")
    uses = {info.name: info.special_use for info in store.mailboxes()}
    assert uses == {"INBOX": "", "Sent": "", "Sent/alt": "\\Sent", "Drafts": "\\Drafts"}
