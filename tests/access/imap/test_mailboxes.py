"""CREATE, DELETE, RENAME, SUBSCRIBE, LIST, LSUB, STATUS: names and trees of mailboxes."""

import time

import pytest

from posthouse.access.imap.pattern import Pattern
from posthouse.store.interface import Store
from tests.access.wire import ImapWire


def test_a_mailbox_is_created_listed_and_deleted(imap: ImapWire) -> None:
    assert imap.say("CREATE Work.Projects") == ["OK Create completed."]
    assert imap.say('LIST "" *') == [
        r'* LIST (\HasNoChildren) "." INBOX',
        r'* LIST (\Noselect \HasChildren) "." Work',
        r'* LIST (\HasNoChildren) "." Work.Projects',
        "OK List completed.",
    ]
    assert imap.say("CREATE Work.Projects") == ["NO [ALREADYEXISTS] Mailbox already exists"]
    assert imap.say("DELETE Work.Projects") == ["OK Delete completed."]
    assert imap.say("DELETE Work.Projects")[-1].startswith("NO [NONEXISTENT]")
    assert imap.say("DELETE INBOX")[-1].startswith("NO [CANNOT]")


def test_a_trailing_separator_is_not_part_of_a_new_name(imap: ImapWire, store: Store) -> None:
    assert imap.say("CREATE Work.") == ["OK Create completed."]
    assert store.open("Work")


def test_names_travel_in_modified_utf7(imap: ImapWire, store: Store) -> None:
    assert imap.say("CREATE &U,BTFw-.a&-b") == ["OK Create completed."]
    assert store.open("台北/a&b")
    assert r'* LIST (\HasNoChildren) "." &U,BTFw-.a&-b' in imap.say('LIST "" *')
    assert imap.say("SELECT &U,BTFw-.a&-b")[-1].startswith("OK ")


@pytest.mark.parametrize("name", ["&", "&U,BTFw", "&AGE-", "a&b", '"\\\\/x"', "a/b", "&2AA-"])
def test_names_that_are_none_are_refused(imap: ImapWire, name: str) -> None:
    assert imap.say(f"CREATE {name}")[-1].startswith("NO [CANNOT]")


def test_names_in_eight_bits_are_refused(imap: ImapWire) -> None:
    assert imap.say(b"CREATE \xe5\x8f\xb0")[-1].startswith("NO [CANNOT]")
    assert imap.say(b"CREATE {3+}\r\n\xe5\x8f\xb0")[-1].startswith("NO [CANNOT]")


def test_special_use_is_given_at_creation(imap: ImapWire) -> None:
    assert imap.say(r"CREATE Gesendet (USE (\Sent))") == ["OK Create completed."]
    assert r'* LIST (\HasNoChildren \Sent) "." Gesendet' in imap.say('LIST "" *')
    assert imap.say(r"CREATE X (USE (\All))")[-1].startswith("NO [USEATTR]")
    assert imap.say(r"CREATE X (USE (\Wrong))")[-1].startswith("BAD ")
    assert imap.say("CREATE X (FOO)")[-1].startswith("BAD ")


def test_usual_names_have_their_special_use(imap: ImapWire) -> None:
    imap.say("CREATE Drafts")
    assert r'* LIST (\HasNoChildren \Drafts) "." Drafts' in imap.say('LIST "" *')


def test_rename_takes_children_along(imap: ImapWire) -> None:
    imap.say("CREATE a.b.c")
    assert imap.say("RENAME a.b x.y") == ["OK Rename completed."]
    assert imap.say("SELECT x.y.c")[-1].startswith("OK ")
    assert imap.say("RENAME x.y x.y.z")[-1].startswith("NO ")
    assert imap.say("RENAME none some")[-1].startswith("NO [NONEXISTENT]")


def test_rename_of_inbox_moves_its_messages(selected: ImapWire, store: Store) -> None:
    assert selected.say("RENAME INBOX old")[-1] == "OK Rename completed."
    assert store.status("old").messages == 5
    assert store.status("INBOX").messages == 0


def test_deleting_the_selected_mailbox_closes_it(imap: ImapWire) -> None:
    imap.say("CREATE a")
    imap.say("SELECT a")
    assert imap.say("DELETE a") == ["* OK [CLOSED] Selected mailbox is being deleted.", "OK Delete completed."]
    assert imap.say("EXPUNGE") == ["BAD No mailbox selected."]


def test_subscriptions_are_kept(imap: ImapWire) -> None:
    imap.say("CREATE a.b")
    assert imap.say("SUBSCRIBE a.b") == ["OK Subscribe completed."]
    assert imap.say("SUBSCRIBE none") == ["NO [NONEXISTENT] Mailbox doesn't exist: none"]
    assert imap.say('LSUB "" *') == ['* LSUB () "." a.b', "OK Lsub completed."]
    assert imap.say('LSUB "" %') == [r'* LSUB (\Noselect) "." a', "OK Lsub completed."]
    imap.say("DELETE a.b")
    assert imap.say("UNSUBSCRIBE a.b") == ["OK Unsubscribe completed."]
    assert imap.say('LSUB "" *') == ["OK Lsub completed."]


def test_list_asks_for_the_separator_with_an_empty_name(imap: ImapWire) -> None:
    assert imap.say('LIST "" ""') == [r'* LIST (\Noselect) "." ""', "OK List completed."]
    assert imap.say('LSUB "" ""')[-1] == "OK Lsub completed."


def names(wire: ImapWire, command: str) -> list[str]:
    return [line.rpartition(' "." ')[2] for line in wire.say(command)[:-1]]


def test_wildcards_and_references(imap: ImapWire) -> None:
    for name in ("a", "a.b", "a.b.c", "ab", "Trash"):
        imap.say(f"CREATE {name}")
    assert names(imap, 'LIST "" %') == ["INBOX", "Trash", "a", "ab"]
    assert names(imap, 'LIST "" a%') == ["a", "ab"]
    assert names(imap, 'LIST "" a*') == ["a", "a.b", "a.b.c", "ab"]
    assert names(imap, 'LIST "" a.%') == ["a.b"]
    assert names(imap, "LIST a. %") == ["a.b"]
    assert names(imap, 'LIST "" %.%') == ["a.b"]
    assert names(imap, 'LIST "" *c') == ["a.b.c"]
    assert names(imap, 'LIST "" inbox') == ["INBOX"]
    assert names(imap, 'LIST "" i%x') == ["INBOX"]
    assert names(imap, 'LIST "" TRASH') == []
    assert names(imap, 'LIST "" "&"') == []


def test_a_hostile_pattern_takes_no_time() -> None:
    began = time.process_time()
    assert not Pattern("*a" * 32, ".").matches("a" * 5000 + "b")
    assert not Pattern("%a*" * 16 + "b", ".").matches("a." * 2000)
    assert not Pattern("*a" * 5000, ".").matches("a" * 5000)
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("*", "", True),
        ("%", "a.b", False),
        ("a.%.c", "a.b.c", True),
        ("a.%.c", "a.b.b.c", False),
        ("a.*.c", "a.b.b.c", True),
        ("%%", "ab", True),
        ("*%", "a.b", True),
        ("%.b", "a.b", True),
        ("a%b", "a.b", False),
        ("a%b", "aXbXb", True),
        ("[a]", "a", False),
    ],
)
def test_patterns(pattern: str, name: str, matches: bool) -> None:
    assert Pattern(pattern, ".").matches(name) is matches


def test_status_of_any_mailbox(selected: ImapWire, store: Store) -> None:
    selected.say("CREATE Foo")
    selected.say("COPY 1:2 Foo")
    validity = store.open("Foo").uid_validity
    assert selected.say("STATUS Foo (MESSAGES UIDNEXT UIDVALIDITY UNSEEN RECENT)") == [
        f"* STATUS Foo (MESSAGES 2 UIDNEXT 3 UIDVALIDITY {validity} UNSEEN 1 RECENT 2)",
        "OK Status completed.",
    ]
    assert selected.say("STATUS INBOX (MESSAGES)")[-1] == "OK [CLIENTBUG] Status on selected mailbox completed."
    assert selected.say("STATUS none (MESSAGES)")[-1].startswith("NO [NONEXISTENT]")
    for wrong in ("STATUS Foo", "STATUS Foo ()", "STATUS Foo (FOO)", "STATUS Foo MESSAGES"):
        assert selected.say(wrong)[-1].startswith("BAD ")
