"""The torture believes only what the server says it did; a healthy server says it."""

import threading

from tests.running import USERS, RunningSystem
from torture.ledger import INBOX, Ledger
from torture.load import FOLDERS, Reader, connect


def test_what_was_stored_copied_moved_and_expunged_is_known_for_certain(module_sandbox: RunningSystem) -> None:
    ledger, endpoint = Ledger(), module_sandbox.endpoint("imap")
    user, password = f"alice@{module_sandbox.facts['domain']}", USERS["alice"]
    reader = Reader("r", ledger, threading.Event(), "seed", endpoint=endpoint, user=user, password=password)
    client = connect(endpoint, user, password)
    for folder in FOLDERS:
        client.create(folder)
    client.select(INBOX)
    for _ in range(12):
        reader._append(client, INBOX, {})
    for action in (reader._store, reader._copy, reader._move, reader._expunge):
        client.select(INBOX)
        action(client, INBOX, reader._notice(client, INBOX))
    client.logout()
    seen = ledger.sightings(user)
    assert all(len(one.places) == 1 for one in seen.values())
    for asked, wanted in (("STORE", INBOX), ("MOVE", None), ("EXPUNGE", None)):
        asked_of = [one for one in seen.values() if any(word.startswith(asked) for word in one.history)]
        assert asked_of
        if wanted is None:
            assert all(INBOX not in one.places for one in asked_of)
    assert not any(flag is None for one in seen.values() for flag in one.flags.values())
    copies = ledger.sightings(f"{user} copies")
    assert copies
    assert all(one.places == {"Copies"} for one in copies.values())
