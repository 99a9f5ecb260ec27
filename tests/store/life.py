"""A user's mailbox lives, dies anywhere, and is reconciled with what it had promised.

python -m tests.store.life ROOT METHOD [crowded] does a bit of everything and writes one line of JSON before and after
each step: what may be, then what was acknowledged. `reconcile` reads these lines, opens what is left as the next
process would, lets the queue ask again for every delivery it has not recorded, and compares.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from posthouse.core.identifiers import DeliveryId, Uid
from posthouse.delivery.locks import LockRules
from posthouse.delivery.maildir_drop import drop, unique_name
from posthouse.delivery.mbox import append, render
from posthouse.store.flush import Volumes
from posthouse.store.interface import FlagChange
from posthouse.store.maildir.environment import Environment
from posthouse.store.maildir.index import UID_BLOCK
from posthouse.store.maildir.location import MailLocation
from posthouse.store.maildir.mailbox import MaildirMailbox
from posthouse.store.maildir.store import MaildirStore

ROUNDS: Final = 3
CROWD: Final = 2 * UID_BLOCK + 100
QUOTA: Final = 100_000_000
RULES: Final = LockRules(("fcntl",), 3, 0.1, 60.0)
SENDER: Final = "joe@example.test"

Places = list[str]
"""Mailboxes that hold the message, sorted; the empty list: it is nowhere."""


def wire(mark: str) -> bytes:
    return f"Subject: {mark}\r\n\r\n".encode() + mark.encode() * 400 + b"\r\n"


class Life:
    def __init__(self, store: MaildirStore) -> None:
        self.store = store
        self.marks: dict[str, tuple[Places, list[str]]] = {}
        """Places and flags, as acknowledged."""

    def say(self, kind: str, **more: Any) -> None:
        os.write(1, (json.dumps({"kind": kind, **more}) + "\n").encode())

    def may(self, mark: str, *places: Places) -> None:
        """From here on the message may be at any of these."""
        self.say("may", mark=mark, places=list(places))

    async def promise(self, mark: str, places: Places, flags: Sequence[str] | None = None) -> None:
        await self.store.flush()
        kept = sorted(flags) if flags is not None else self.marks.get(mark, ([], []))[1]
        self.marks[mark] = (places, kept)
        self.say("is", mark=mark, places=places, flags=kept)

    def show(self, name: str) -> None:
        """What a session sees, flushed or not: these numbers are spoken for."""
        folder = self.store.open(name)
        seen = [(int(row.uid), mark_of(folder, row.uid)) for row in folder.rows()]
        self.say("shown", validity=int(folder.uid_validity), uids=seen)

    def uid(self, folder: MaildirMailbox, mark: str) -> Uid:
        return next(row.uid for row in folder.rows() if mark_of(folder, row.uid) == mark)

    async def deliver(self, mark: str, number: int, name: str = "INBOX") -> DeliveryId:
        delivery = DeliveryId(f"4bXyZ1abcdz{number}.0.0")
        self.may(mark, [], [name])
        self.say("asked", delivery=delivery, mark=mark, mailbox=name)
        self.store.deliver(wire(mark), delivery, name, False)
        await self.promise(mark, [name])
        return delivery

    async def append(self, mark: str, name: str, flags: Sequence[str]) -> Uid:
        folder = self.store.open(name)
        self.may(mark, [], [name])
        uid = folder.append(wire(mark), frozenset(flags), 1e9, None)
        await self.promise(mark, [name], flags)
        self.say("numbered", validity=int(folder.uid_validity), uid=int(uid), mark=mark)
        return uid

    async def round(self, number: int) -> None:
        store = self.store
        one, two, three, four, five = (f"m{number}{letter}" for letter in "abcde")
        first = await self.deliver(one, number * 10)
        inbox = store.open("INBOX")
        second = await self.deliver(two, number * 10 + 1)
        self.show("INBOX")
        inbox.claim_recent(False)
        await self.append(three, "INBOX", ["\\Seen", f"Work{number}"])
        await self.append(four, "INBOX", [])
        self.show("INBOX")
        self.say("changing", mark=four)
        inbox.store_flags([self.uid(inbox, four)], FlagChange.ADD, frozenset({"\\Flagged", f"Key{number}"}), None)
        await self.promise(four, ["INBOX"], ["\\Flagged", f"Key{number}"])
        store.retired([first])
        self.say("retired", delivery=first)
        box = f"Box{number}"
        self.say("making", mailbox=box)
        store.create(box, "\\Archive" if number == 0 else "")
        await store.flush()
        self.say("made", mailbox=box)
        self.say("subscribing", mailbox=box)
        store.subscribe(box, True)
        await store.flush()
        self.say("subscribed", mailbox=box)
        self.may(three, ["INBOX"], [box, "INBOX"])
        inbox.copy([self.uid(inbox, three)], box, None)
        await self.promise(three, [box, "INBOX"])
        for mark in (four, two):
            self.may(mark, ["INBOX"], [box, "INBOX"], [box])
            inbox.move([self.uid(inbox, mark)], box, None)
            await self.promise(mark, [box])
        store.retired([second])
        self.say("retired", delivery=second)
        for mark in (three, one):
            left = [place for place in self.marks[mark][0] if place != "INBOX"]
            self.may(mark, self.marks[mark][0], left)
            inbox.expunge([self.uid(inbox, mark)], None)
            await self.promise(mark, left)
        inside = await self.deliver(five, number * 10 + 2, box)
        self.show(box)
        new = f"Renamed{number}"
        moving = [mark for mark, (places, _) in self.marks.items() if box in places]
        for mark in moving:
            self.may(mark, [box], [new])
        self.say("renaming", old=box, new=new)
        store.rename(box, new)
        for mark in moving:
            await self.promise(mark, [new])
        self.say("renamed", old=box, new=new)
        store.retired([inside])
        self.say("retired", delivery=inside)
        if number:
            gone = f"Renamed{number - 1}"
            dying = [mark for mark, (places, _) in self.marks.items() if gone in places]
            for mark in dying:
                self.may(mark, [gone], [])
            self.say("renaming", old=gone, new="")
            store.delete(gone)
            for mark in dying:
                await self.promise(mark, [])
        self.local(number)

    def crowd(self) -> None:
        """More new messages than one block has numbers, all shown before the first flush."""
        inbox = self.store.open("INBOX")
        for number in range(CROWD):
            mark = f"c{number}"
            self.may(mark, [], ["INBOX"])
            uid = inbox.append(wire(mark), frozenset(), None, None)
            self.say("shown", validity=int(inbox.uid_validity), uids=[(int(uid), mark)])

    def local(self, number: int) -> None:
        """What `local` does for system users, beside the Maildir."""
        directory, mark = os.path.dirname(self.store.root), f"l{number}"
        message = render(SENDER, b"", f"L{number}.0.0", wire(mark), 1e9)
        self.say("mbox", mark=mark, number=number)
        append(f"{directory}/mbox", message, f"L{number}.0.0", RULES, size_limit=0, owner=-1, maybe_delivered=False)
        self.say("mbox done", mark=mark)
        self.say("drop", mark=mark, number=number)
        _drop(directory, number, False)
        self.say("drop done", mark=mark)


def _drop(directory: str, number: int, maybe_delivered: bool) -> None:
    name = unique_name(f"L{number}.0.0", 1e9, "host")
    drop(
        f"{directory}/home",
        b"",
        wire(f"l{number}"),
        name,
        size_limit=0,
        owner=-1,
        maybe_delivered=maybe_delivered,
    )


def mark_of(folder: MaildirMailbox, uid: Uid) -> str:
    content = folder.content(uid) or b""
    return content.partition(b"\r\n")[0].removeprefix(b"Subject: ").decode()


async def live(root: str, method: str, *, crowded: bool) -> None:
    environment = Environment(Volumes(method), loop=asyncio.get_running_loop())
    store = MaildirStore(MailLocation(root), environment, QUOTA)
    life = Life(store)
    if crowded:
        life.crowd()
    for number in range(ROUNDS):
        await life.round(number)
    store.close()
    life.say("end")


def reconcile(root: str, lines: Sequence[str]) -> None:
    """Raises AssertionError if a promise was broken."""
    facts = [json.loads(line) for line in lines]
    allowed: dict[str, list[Places]] = {}
    flags: dict[str, list[str]] = {}
    open_deliveries: dict[str, tuple[str, str]] = {}
    numbers: dict[tuple[int, int], str] = {}
    promised: dict[tuple[int, int], str] = {}
    folders = {"INBOX"}
    subscribed: set[str] = set()
    local: dict[str, dict[str, int]] = {"mbox": {}, "drop": {}}
    for fact in facts:
        match fact["kind"]:
            case "may":
                allowed[fact["mark"]] = fact["places"]
                promised = {key: mark for key, mark in promised.items() if mark != fact["mark"]}
            case "is":
                allowed[fact["mark"]] = [fact["places"]]
                flags[fact["mark"]] = fact["flags"]
            case "changing":
                flags.pop(fact["mark"], None)
            case "asked":
                open_deliveries[fact["delivery"]] = (fact["mark"], fact["mailbox"])
            case "retired":
                open_deliveries.pop(fact["delivery"])
            case "shown":
                for uid, mark in fact["uids"]:
                    assert numbers.setdefault((fact["validity"], uid), mark) == mark
            case "numbered":
                promised[fact["validity"], fact["uid"]] = numbers[fact["validity"], fact["uid"]] = fact["mark"]
            case "made":
                folders.add(fact["mailbox"])
            case "renaming":
                folders.discard(fact["old"])
            case "renamed":
                folders.add(fact["new"])
            case "subscribed":
                subscribed.add(fact["mailbox"])
            case "mbox" | "drop" as kind:
                local[kind][fact["mark"]] = fact["number"]
    reports: list[str] = []
    # A little later, so that names of files do not agree by chance.
    environment = Environment(Volumes(), report=reports.append, watching=False, now=lambda: time.time() + 5)
    store = MaildirStore(MailLocation(root), environment, QUOTA)
    for delivery, (mark, mailbox) in open_deliveries.items():
        there = {info.name for info in store.mailboxes()}
        if mailbox not in there:
            # Its folder was renamed or deleted: a script would have to say where it goes now.
            continue
        store.deliver(wire(mark), DeliveryId(delivery), mailbox, True)
        if allowed[mark][0] == []:  # it was on its way in, and now it has arrived
            del allowed[mark][0]
    found: dict[str, Places] = {mark: [] for mark in allowed}
    names = {info.name for info in store.mailboxes()}
    for name in sorted(names):
        folder = store.open(name)
        validity, highest = int(folder.uid_validity), 0
        for row in folder.rows():
            mark = mark_of(folder, row.uid)
            assert folder.content(row.uid) == wire(mark), f"{name} {row.uid}: {mark!r} is not whole; {reports}"
            found[mark].append(name)
            known = numbers.get((validity, row.uid), mark)
            assert known == mark, f"{name}: UID {row.uid} named {known} and names {mark}"
            if mark in flags:
                assert sorted(row.flags - {"\\Recent"}) == flags[mark], (mark, row.flags, flags[mark])
            highest = max(highest, row.uid)
        highest = max([highest, *(uid for known, uid in numbers if known == validity)])
        assert folder.uid_next > highest
        for (known, uid), mark in promised.items():
            if known == validity and allowed[mark] == [[name]]:
                assert folder.row(Uid(uid)) is not None, f"{name}: UID {uid} of {mark} is gone"
    for mark, places in found.items():
        ok = allowed[mark]
        assert sorted(places) in [sorted(one) for one in ok], f"{mark} is in {places}, promised: {ok}; {reports}"
    assert folders <= names, (folders, names)
    assert subscribed <= set(store.subscriptions())
    counted, _ = store.quota()
    assert counted >= 0
    assert not any("damaged" in line for line in reports), reports
    store.close()
    environment.close()
    _reconcile_local(os.path.dirname(root), local)


def _reconcile_local(directory: str, local: dict[str, dict[str, int]]) -> None:
    for mark, number in local["mbox"].items():
        name = f"L{number}.0.0"
        message = render(SENDER, b"", name, wire(mark), 1e9)
        append(f"{directory}/mbox", message, name, RULES, size_limit=0, owner=-1, maybe_delivered=True)
    if local["mbox"]:
        with open(f"{directory}/mbox", "rb") as file:
            expected = b"".join(
                b"".join(render(SENDER, b"", f"L{number}.0.0", wire(mark), 1e9))
                for mark, number in local["mbox"].items()
            )
            assert file.read() == expected
    for number in local["drop"].values():
        _drop(directory, number, True)
    if local["drop"]:
        texts = sorted(path.read_bytes() for part in ("new", "cur") for path in Path(directory, "home", part).iterdir())
        assert texts == sorted(wire(mark).replace(b"\r\n", b"\n") for mark in local["drop"])


if __name__ == "__main__":
    if sys.argv[1] == "reconcile":
        reconcile(sys.argv[2], sys.stdin.read().splitlines())
    else:
        asyncio.run(live(sys.argv[1], sys.argv[2], crowded="crowded" in sys.argv))
