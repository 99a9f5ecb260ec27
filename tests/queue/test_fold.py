"""The fold against a model: whatever happens, state = replay = index + replay from its position."""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.core.address import Address
from posthouse.core.identifiers import QueueId
from posthouse.queue.fold import QueueState
from posthouse.queue.index import Index, encode_row
from posthouse.queue.message import Message, Place, QueuedRecipient
from posthouse.queue.record import AnyRecord, Defer, Deferral, Delete, Done, Hold, Redirect, Release, Requeue
from tests.queue.samples import enter

IDS = tuple(QueueId(f"M{number}") for number in range(6))

_operations = st.lists(
    st.tuples(
        st.sampled_from(("enter", "done", "defer", "hold", "release", "delete", "requeue", "redirect", "checkpoint")),
        st.sampled_from(IDS),
        st.integers(0, 3),
    ),
    max_size=60,
)


def _record(kind: str, queue_id: QueueId, number: int) -> AnyRecord:
    match kind:
        case "enter":
            return enter(queue_id, b"content", *(f"r{one}@x.test" for one in range(number + 1)))
        case "done":
            return Done(queue_id, (number,))
        case "defer":
            return Defer(queue_id, 100.0 + number, (Deferral(number, "4.0.0", f"reason {number}"),), number == 1)
        case "hold":
            return Hold((queue_id,))
        case "release":
            return Release((queue_id,), 50.0)
        case "delete":
            return Delete((queue_id,))
        case "requeue":
            return Requeue(queue_id, (QueuedRecipient(Address("again", "x.test"), action=1),), 7.0)
        case _:
            return Redirect(queue_id, number, (QueuedRecipient(Address(f"new{number}", "x.test")),))


def _apply(state: QueueState, history: Iterable[tuple[int, AnyRecord]]) -> None:
    for lsn, record in history:
        state.apply((record,), lsn, lsn + 1, Place(0, lsn >> 4, lsn), 0.0)


def _copy(history: list[tuple[str, QueueId, int]]) -> list[tuple[int, AnyRecord]]:
    """Fresh records: the fold keeps the message of an Enter. Ids are used once, as queue ids are."""
    used: set[QueueId] = set()
    out: list[tuple[int, AnyRecord]] = []
    for number, (kind, queue_id, value) in enumerate(history, 1):
        if kind == "checkpoint" or (kind == "enter" and queue_id in used):
            continue
        if kind == "enter":
            used.add(queue_id)
        out.append((number, _record(kind, queue_id, value)))
    return out


@settings(max_examples=300, deadline=None)
@given(history=_operations, waiting=st.sets(st.sampled_from(IDS)), limit=st.integers(1, 4))
def test_index_and_the_records_behind_it_give_what_all_records_give(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[str, QueueId, int]], waiting: set[QueueId], limit: int
) -> None:
    everything = QueueState()
    _apply(everything, _copy(history))
    index = Index(str(tmp_path_factory.mktemp("index") / "i.sqlite"))
    state = QueueState(index.get)
    position = 0
    for number, (kind, *_) in enumerate(history, 1):
        if kind == "checkpoint":
            step = state.checkpoint(-1.0, waiting.__contains__, limit)
            index.write([encode_row(one, False) for one in step.upserts], step.deletes, step.position, step.lease)
            state.taken(step)
            assert step.position >= position
            position = step.position
            for message in step.upserts:
                if message.queue_id in waiting and not state.is_changed(message.queue_id):
                    state.drop(message.queue_id)
        else:
            _apply(state, [one for one in _copy(history) if one[0] == number])
    # A crash: only the index and the records from its position on are left.
    again = QueueState(index.get)
    position = index.meta("position")
    _apply(again, [one for one in _copy(history) if one[0] >= position])
    rows: dict[str, Message] = {message.queue_id: message for _, message in index.page("", 100)}
    rows = {queue_id: one for queue_id, one in rows.items() if not again.is_gone(QueueId(queue_id))}
    rows.update(again.messages)
    assert rows == dict(everything.messages)
    # What the running queue knew was the same.
    running: dict[str, Message] = {message.queue_id: message for _, message in index.page("", 100)}
    running = {queue_id: one for queue_id, one in running.items() if not state.is_gone(QueueId(queue_id))}
    running.update(state.messages)
    assert running == dict(everything.messages)
    index.close()


@settings(max_examples=200, deadline=None)
@given(history=_operations, again=st.integers(0, 60))
def test_replaying_records_twice_changes_nothing(history: list[tuple[str, QueueId, int]], again: int) -> None:
    once, twice = QueueState(), QueueState()
    _apply(once, _copy(history))
    _apply(twice, _copy(history)[:again])
    survivors = set(twice.messages)
    repeated = [
        one
        for one in _copy(history)
        # A message that was done is not entered again: the journal before the index's position is never replayed.
        if getattr(one[1], "queue_id", None) in survivors or one[0] > again
    ]
    _apply(twice, repeated)
    for queue_id in survivors & set(once.messages):
        assert twice.messages[queue_id] == once.messages[queue_id]


def test_a_message_that_is_done_before_the_checkpoint_never_reaches_the_index() -> None:
    state = QueueState()
    _apply(state, [(1, enter("M0", b"x")), (2, Done(IDS[0], (0,)))])
    step = state.checkpoint(1e9, lambda _: True, 100)
    assert step.upserts == []
    assert step.deletes == []
    assert step.position == state.end


def test_content_in_use_is_counted_per_segment() -> None:
    state = QueueState()
    _apply(state, [(17, enter("M0", b"12345")), (18, enter("M1", b"678")), (33, enter("M2", b"9"))])
    assert {key: (one.messages, one.octets) for key, one in state.usage.items()} == {(0, 1): (2, 8), (0, 2): (1, 1)}
    _apply(state, [(34, Delete((IDS[0], IDS[1])))])
    assert list(state.usage) == [(0, 2)]


def test_a_checkpoint_in_steps_never_skips_a_record() -> None:
    state = QueueState()
    _apply(state, [(number, enter(f"M{number}", b"x")) for number in range(1, 6)])
    step = state.checkpoint(-1.0, lambda _: True, 2)
    assert [one.queue_id for one in step.upserts] == ["M1", "M2"]
    assert step.position == 3
    assert not step.complete
