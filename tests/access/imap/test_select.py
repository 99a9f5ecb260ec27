"""SELECT, EXAMINE, CLOSE, UNSELECT, CHECK."""

from collections.abc import Callable

from posthouse.store.interface import Store
from tests.access.conftest import fill, message
from tests.access.wire import ImapWire


def test_select_tells_everything_a_client_needs(imap: ImapWire, store: Store) -> None:
    fill(store)
    inbox = store.open("INBOX")
    assert imap.say("SELECT inbox") == [
        r"* FLAGS (\Answered \Flagged \Deleted \Seen \Draft work)",
        r"* OK [PERMANENTFLAGS (\Answered \Flagged \Deleted \Seen \Draft work \*)] Flags permitted.",
        "* 5 EXISTS",
        "* 5 RECENT",
        "* OK [UNSEEN 2] First unseen.",
        f"* OK [UIDVALIDITY {inbox.uid_validity}] UIDs valid",
        "* OK [UIDNEXT 6] Predicted next UID",
        "OK [READ-WRITE] Select completed.",
    ]


def test_recent_messages_are_claimed_by_the_first_session(connect: Callable[..., ImapWire], store: Store) -> None:
    fill(store)
    assert "* 5 RECENT" in connect().say("SELECT INBOX")
    assert "* 0 RECENT" in connect().say("SELECT INBOX")


def test_examine_claims_nothing_and_is_read_only(connect: Callable[..., ImapWire], store: Store) -> None:
    fill(store)
    wire = connect()
    heard = wire.say("EXAMINE INBOX")
    assert "* OK [PERMANENTFLAGS ()] Read-only mailbox." in heard
    assert heard[-1] == "OK [READ-ONLY] Examine completed."
    assert "* 5 RECENT" in connect().say("SELECT INBOX")
    for command in (r"STORE 1 +FLAGS (\Seen)", "EXPUNGE", "UID EXPUNGE 1", "MOVE 1 INBOX"):
        assert wire.say(command)[-1] == "NO [READ-ONLY] Mailbox is read-only"
    wire.say("FETCH 5 BODY[]")
    wire.say("CLOSE")
    rows = store.open("INBOX").rows()
    assert len(rows) == 5
    assert "\\Seen" not in rows[4].flags


def test_a_failed_select_leaves_nothing_selected(selected: ImapWire) -> None:
    assert selected.say("SELECT nowhere") == [
        "* OK [CLOSED] Previous mailbox closed.",
        "NO [NONEXISTENT] Mailbox doesn't exist: nowhere",
    ]
    assert selected.say("FETCH 1 FLAGS") == ["BAD No mailbox selected."]


def test_errors_name_a_mailbox_as_the_client_does(imap: ImapWire) -> None:
    assert imap.say("SELECT a.&U,BTFw-") == ["NO [NONEXISTENT] Mailbox doesn't exist: a.&U,BTFw-"]


def test_a_wrong_select_changes_nothing(selected: ImapWire) -> None:
    assert selected.say("SELECT")[-1].startswith("BAD ")
    assert selected.say("SELECT INBOX (CONDSTORE)")[-1].startswith("BAD ")
    assert selected.say("FETCH 1 UID")[0] == "* 1 FETCH (UID 1)"


def test_close_removes_deleted_messages_without_a_word(selected: ImapWire, store: Store) -> None:
    assert selected.say("CLOSE") == ["OK Close completed."]
    assert [row.uid for row in store.open("INBOX").rows()] == [1, 2, 4, 5]
    assert selected.say("CLOSE") == ["BAD No mailbox selected."]


def test_unselect_removes_nothing(selected: ImapWire, store: Store) -> None:
    assert selected.say("UNSELECT") == ["OK Unselect completed."]
    assert len(store.open("INBOX").rows()) == 5


def test_a_mailbox_that_is_not_selected_any_more_is_not_listened_to(selected: ImapWire, store: Store) -> None:
    selected.say("UNSELECT")
    store.open("INBOX").append(message(9), frozenset(), None, None)
    assert selected.say("NOOP") == ["OK NOOP completed."]
    assert not store.open("INBOX").listeners


def test_check_is_answered(selected: ImapWire) -> None:
    assert selected.say("CHECK") == ["OK Check completed."]
