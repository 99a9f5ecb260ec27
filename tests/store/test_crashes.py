"""The process dies between two system calls; what must hold afterwards, for every named step.

A child does the work and kills itself at a step of `store.crashpoints`. The test then opens the same Maildir as the
next process would.
"""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from posthouse.core.identifiers import DeliveryId
from posthouse.store.crashpoints import StoreStep as Step
from posthouse.store.flush import Volumes
from posthouse.store.maildir.environment import Environment
from posthouse.store.maildir.location import MailLocation
from posthouse.store.maildir.store import MaildirStore

WIRE = b"Subject: x\r\n\r\nbody\r\n"
FIRST, SECOND = DeliveryId("4bXyZ1abcdz0.0.0"), DeliveryId("4bXyZ1abcdz0.1.0")

CHILD = """
import asyncio, json, os, sys
from posthouse.core.identifiers import DeliveryId, Uid
from posthouse.runtime import crashpoints
from posthouse.store.flush import Volumes
from posthouse.store.interface import FlagChange
from posthouse.store.maildir.environment import Environment
from posthouse.store.maildir.location import MailLocation
from posthouse.store.maildir.store import MaildirStore

root, step, skip, work = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
WIRE = b"Subject: x\\r\\n\\r\\nbody\\r\\n"
FIRST, SECOND = DeliveryId("4bXyZ1abcdz0.0.0"), DeliveryId("4bXyZ1abcdz0.1.0")
shown = []

def say(*uids):
    shown.extend(int(uid) for uid in uids)
    print(json.dumps(shown), flush=True)

async def main():
    environment = Environment(Volumes(), loop=asyncio.get_running_loop())
    store = MaildirStore(MailLocation(root), environment)
    if step:
        crashpoints.arm(f"{step}:{skip + 1}")
    print(json.dumps(shown), flush=True)
    inbox = None
    for line in work.split(";"):
        exec(line.strip(), globals(), locals_of(store)) if not line.strip().startswith("await") else await store.flush()
    print(json.dumps(shown), flush=True)
    os._exit(9)

def locals_of(store):
    return {"store": store, "inbox": store._folders.get("INBOX"), "say": say}

asyncio.run(main())
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "Maildir"


@pytest.fixture
def environment() -> Iterator[Environment]:
    made = Environment(Volumes())
    yield made
    made.close()


def die(root: Path, step: Step | None, work: str, skip: int = 0, *, surely: bool = True) -> list[int]:
    """UIDs that the child had shown when it died; `surely` at the step."""
    answer = subprocess.run(
        [sys.executable, "-c", CHILD, str(root), step.name if step else "", str(skip), work],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    killed = -signal.SIGKILL
    assert answer.returncode in ((killed,) if step and surely else (killed, 9)), answer.stderr
    found: list[int] = json.loads(answer.stdout.splitlines()[-1])
    return found


def contents(store: MaildirStore, name: str = "INBOX") -> list[bytes | None]:
    mailbox = store.open(name)
    return [mailbox.content(row.uid) for row in mailbox.rows()]


@pytest.mark.parametrize("step", [Step.DELIVERY_WRITTEN, Step.DELIVERY_NAMED, None])
@pytest.mark.parametrize("is_open", [False, True])
def test_a_delivery_is_made_exactly_once(
    root: Path, environment: Environment, step: Step | None, is_open: bool
) -> None:
    die(root, step, ("store.open('INBOX'); " if is_open else "") + "store.deliver(WIRE, FIRST, 'INBOX', False)")
    store = MaildirStore(MailLocation(str(root)), environment)
    assert store.deliver(WIRE, FIRST, "INBOX", True) == (step is Step.DELIVERY_WRITTEN)
    assert store.deliver(WIRE, SECOND, "INBOX", True)
    assert contents(store) == [WIRE, WIRE]
    store.close()


def test_a_delivery_that_a_reader_saw_before_the_crash_is_not_made_again(root: Path, environment: Environment) -> None:
    shown = die(
        root,
        None,
        "store.deliver(WIRE, FIRST, 'INBOX', False); store.open('INBOX'); inbox.claim_recent(False); "
        "inbox.store_flags([1], FlagChange.ADD, frozenset({'\\\\Seen'}), None); say(1)",
    )
    store = MaildirStore(MailLocation(str(root)), environment)
    assert not store.deliver(WIRE, FIRST, "INBOX", True)
    (row,) = store.open("INBOX").rows()
    assert row.flags == {"\\Seen"}
    # The row may have been lost with the transaction, but the number is never another message's.
    assert row.uid in shown or row.uid > max(shown)
    store.close()


@pytest.mark.parametrize("work", ["expunge", "move"])
@pytest.mark.parametrize("step", [Step.TOMBSTONE_STORED, Step.EXPUNGED, Step.MOVED, Step.COPIED, None])
@pytest.mark.parametrize("flushed", [False, True])
def test_a_removed_delivery_does_not_come_back_and_no_message_is_lost(
    root: Path, environment: Environment, work: str, step: Step | None, flushed: bool
) -> None:
    act = "inbox.expunge([1], None)" if work == "expunge" else "inbox.move([1], 'other', None)"
    end = "; await" if flushed else ""
    die(
        root,
        step,
        f"store.create('other'); store.deliver(WIRE, FIRST, 'INBOX', False); store.open('INBOX'); {act}{end}",
        surely=step is (Step.EXPUNGED if work == "expunge" else Step.MOVED),
    )
    store = MaildirStore(MailLocation(str(root)), environment)
    store.deliver(WIRE, FIRST, "INBOX", True)
    there, elsewhere = contents(store), contents(store, "other")
    if work == "move":
        # At least one of the two, whatever happened; both only if the move had not been done.
        assert there + elsewhere in ([WIRE], [WIRE, WIRE])
        assert flushed is False or step is not None or (there, elsewhere) == ([], [WIRE])
    elif flushed and step in (None, Step.TOMBSTONE_STORED):
        assert there == []
    else:
        assert there in ([], [WIRE])
    store.close()


@pytest.mark.parametrize("skip", [0, 3])
@pytest.mark.parametrize("step", [Step.UIDS_RESERVED, Step.UIDS_ASSIGNED, None])
def test_no_uid_ever_names_two_messages(root: Path, environment: Environment, step: Step | None, skip: int) -> None:
    """Appended messages, shown at once, then death: whatever is lost, the numbers are not used again."""
    seen: dict[int, bytes] = {}
    for attempt in range(3):
        shown = die(
            root,
            step,
            "store.open('INBOX'); "
            + "; ".join(
                f"say(inbox.append(b'Subject: {attempt}.{number}' + b'\\r\\n\\r\\n', frozenset(), None, None))"
                for number in range(6)
            ),
            skip,
            surely=step is Step.UIDS_ASSIGNED,
        )
        for number, uid in enumerate(shown):
            assert uid not in seen
            seen[uid] = b"Subject: %d.%d\r\n\r\n" % (attempt, number)
    store = MaildirStore(MailLocation(str(root)), environment)
    inbox = store.open("INBOX")
    assert seen or step is not None
    for uid, content in seen.items():
        row = inbox.content(uid)  # type: ignore[arg-type]
        assert row in (None, content)
    assert inbox.uid_next > max(seen, default=0)
    store.close()


@pytest.mark.parametrize("step", [Step.FLAGS_RENAMED, None])
def test_flags_that_were_set_are_set(root: Path, environment: Environment, step: Step | None) -> None:
    die(
        root,
        step,
        "store.open('INBOX'); inbox.append(WIRE, frozenset(), None, None); "
        "inbox.append(WIRE, frozenset(), None, None); await;"
        "inbox.store_flags([1, 2], FlagChange.ADD, frozenset({'\\\\Flagged', 'Work'}), None)",
    )
    store = MaildirStore(MailLocation(str(root)), environment)
    assert [(row.uid, row.flags) for row in store.open("INBOX").rows()] == [
        (1, {"\\Flagged", "Work"}),
        (2, {"\\Flagged", "Work"}),
    ]
    store.close()


@pytest.mark.parametrize("step", [Step.COPIED, None])
def test_a_copy_is_there_or_not_but_whole(root: Path, environment: Environment, step: Step | None) -> None:
    die(
        root,
        step,
        "store.create('other'); store.open('INBOX'); inbox.append(WIRE, frozenset({'\\\\Seen'}), None, None); await;"
        "inbox.copy([1], 'other', None)",
    )
    store = MaildirStore(MailLocation(str(root)), environment)
    assert contents(store) == [WIRE]
    assert contents(store, "other") == [WIRE]
    assert store.open("other").rows()[0].flags == {"\\Seen"}
    store.close()


def test_a_rename_that_was_begun_is_finished_and_keeps_uids(root: Path, environment: Environment) -> None:
    die(
        root,
        Step.FOLDER_RENAMED,
        "store.create('a'); store.create('a/b'); store.open('a'); "
        "store._folders['a'].append(WIRE, frozenset(), None, None); "
        "store._folders['a'].append(WIRE, frozenset(), None, None); store._folders['a'].expunge([1], None); await;"
        "store.rename('a', 'z')",
    )
    store = MaildirStore(MailLocation(str(root)), environment)
    assert {info.name for info in store.mailboxes()} == {"INBOX", "z", "z/b"}
    assert [row.uid for row in store.open("z").rows()] == [2]
    store.close()
