"""STORE: all changes, silent and not, keywords, other sessions."""

from collections.abc import Callable

import pytest

from posthouse.store.interface import Store
from tests.access.wire import ImapWire


def test_flags_are_added_removed_and_replaced(selected: ImapWire, store: Store) -> None:
    assert selected.say(r"STORE 1 +FLAGS (\Answered \flagged)") == [
        r"* 1 FETCH (FLAGS (\Answered \Flagged \Seen \Recent))",
        "OK Store completed.",
    ]
    assert selected.say(r"STORE 1 -FLAGS (\Answered)")[0] == r"* 1 FETCH (FLAGS (\Flagged \Seen \Recent))"
    assert selected.say(r"STORE 1 FLAGS ()")[0] == r"* 1 FETCH (FLAGS (\Recent))"
    assert store.open("INBOX").rows()[0].flags == frozenset()


def test_flags_need_no_parentheses(selected: ImapWire) -> None:
    assert selected.say(r"STORE 5 FLAGS \Seen \Draft")[0] == r"* 5 FETCH (FLAGS (\Seen \Draft \Recent))"


def test_silent_changes_are_not_answered_but_done(selected: ImapWire, store: Store) -> None:
    assert selected.say(r"STORE 1:* +FLAGS.SILENT (\Draft)") == ["OK Store completed."]
    assert selected.say("NOOP") == ["OK NOOP completed."]
    assert all("\\Draft" in row.flags for row in store.open("INBOX").rows())
    assert selected.say("FETCH 5 FLAGS")[0] == r"* 5 FETCH (FLAGS (\Draft \Recent))"


def test_uid_store_answers_with_the_uid(selected: ImapWire) -> None:
    assert selected.say(r"UID STORE 5,77 +FLAGS (\Seen)") == [
        r"* 5 FETCH (UID 5 FLAGS (\Seen \Recent))",
        "OK Store completed.",
    ]


def test_a_new_keyword_is_announced_before_it_is_used(selected: ImapWire) -> None:
    assert selected.say("STORE 5 +FLAGS ($Forwarded)") == [
        r"* FLAGS (\Answered \Flagged \Deleted \Seen \Draft $Forwarded work)",
        r"* OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft $Forwarded work \*)] Flags permitted.",
        r"* 5 FETCH (FLAGS (\Recent $Forwarded))",
        "OK Store completed.",
    ]


def test_other_sessions_hear_of_changes(selected: ImapWire, connect: Callable[..., ImapWire]) -> None:
    other = connect()
    other.say("SELECT INBOX")
    selected.say(r"STORE 2:3 +FLAGS.SILENT (\Answered)")
    assert other.say("NOOP") == [
        r"* 2 FETCH (FLAGS (\Answered \Flagged))",
        r"* 3 FETCH (FLAGS (\Answered \Deleted))",
        "OK NOOP completed.",
    ]


def test_no_expunge_is_told_during_store(selected: ImapWire, store: Store) -> None:
    store.open("INBOX").expunge([1], None)  # type: ignore[list-item]
    assert selected.say(r"STORE 2 +FLAGS (\Seen)")[0] == r"* 2 FETCH (FLAGS (\Flagged \Seen \Recent))"
    assert selected.say(r"STORE 1 +FLAGS (\Seen)") == ["OK [EXPUNGEISSUED] Some messages were already expunged."]
    assert selected.say(r"UID STORE 2 +FLAGS (\Draft)") == [
        r"* 2 FETCH (UID 2 FLAGS (\Flagged \Seen \Draft \Recent))",
        "* 1 EXPUNGE",
        "* 4 RECENT",
        "OK Store completed.",
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "1",
        "1 FLAGS",
        r"1 FOO (\Seen)",
        r"1 +FLAGS (\Foo)",
        r"1 +FLAGS (\Recent)",
        r"1 +FLAGS (\Seen",
        r"1 *FLAGS (\Seen)",
        r"9 +FLAGS (\Seen)",
        "1 +FLAGS (" + " ".join(f"k{n}" for n in range(100)) + ")",
        "1 +FLAGS (" + "k" * 300 + ")",
        '1 +FLAGS ("quoted")',
    ],
)
def test_wrong_arguments_are_bad(selected: ImapWire, arguments: str) -> None:
    assert selected.say(f"STORE {arguments}")[-1].startswith("BAD ")
