"""What is there, held against what was acknowledged."""

import functools
import imaplib
import mailbox
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from torture.ledger import INBOX, Ledger
from torture.load import FLAGS, FOLDERS, connect, expect_ok, fetch, marks_by_uid
from torture.peers import DOMAIN, MARK, SUM
from torture.world import USERS, World

CLEAR_ATTEMPTS: Final = 3
_FLAGS = re.compile(rb"FLAGS \(([^)]*)\)")
_QUEUE_ID = re.compile(rb"^\s+by \S+ .* id (\w+)", re.MULTILINE)
_FLAG_NAMES = {flag.lower(): flag for flag in FLAGS}


@dataclass
class Findings:
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """Flags, UIDs, damaged content, bounces, and messages that came back."""
    relayed_twice: int = 0
    """Inside the window of a fault: allowed, counted."""

    def __bool__(self) -> bool:
        return bool(self.lost or self.doubled or self.wrong)

    def lines(self) -> Iterator[str]:
        for kind, found in (("lost", self.lost), ("duplicated", self.doubled), ("wrong", self.wrong)):
            for one in found[:20]:
                yield f"  {kind}: {one}"


def reconcile(world: World, ledger: Ledger, windows: list[tuple[float, float]]) -> Findings:
    """The queue must be empty. `windows` are the times in which a relayed message may have gone out twice."""
    findings = Findings()
    _check_users(world, ledger, findings)
    _check_system_user(world, ledger, findings)
    _check_relayed(world, ledger, windows, findings)
    return findings


def _maildir_marks(maildir: Path, findings: Findings) -> Counter[str]:
    """Marks of all messages in all folders, read from the files: not by our own IMAP. A damaged message is wrong."""
    found: Counter[str] = Counter()
    if not maildir.exists():
        return found
    for directory in [maildir, *(one for one in maildir.iterdir() if one.name.startswith(".") and one.is_dir())]:
        for part in ("new", "cur"):
            for path in (directory / part).glob("*"):
                _take(path.read_bytes(), str(path), found, findings)
    return found


def _take(content: bytes, where: str, found: Counter[str], findings: Findings) -> None:
    content = content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    head, _, body = content.partition(b"\r\n\r\n")
    mark, checksum = MARK.search(head), SUM.search(head)
    if mark is None or checksum is None:
        findings.wrong.append(f"{where} is no message of ours ({len(content)} octets)")
        return
    found[mark[1].decode()] += 1
    if zlib.crc32(body) != int(checksum[1], 16):
        findings.wrong.append(f"{where}: the content of {mark[1].decode()} is damaged")


def _check_users(world: World, ledger: Ledger, findings: Findings) -> None:
    domain = world.facts["domain"]
    on_disk: dict[str, Counter[str]] = {}
    shown: dict[str, dict[str, Counter[str]]] = {}
    flags: dict[str, dict[str, set[str]]] = {}
    for user, password in USERS.items():
        try:
            shown[user], flags[user] = _by_imap(world, ledger, f"{user}@{domain}", password)
        except AssertionError as error:
            findings.wrong.append(str(error))
            shown[user], flags[user] = {}, {}
            continue
        total = sum(shown[user].values(), Counter())
        # Only now: what was to be removed when its store died is removed when the store is opened again.
        on_disk[user] = _maildir_marks(world.maildir(user), findings)
        if total != on_disk[user]:
            differing = {one for one in total | on_disk[user] if total[one] != on_disk[user][one]}
            findings.wrong.append(f"{user}: IMAP and the files differ in {sorted(differing)[:5]}")
    expected: dict[str, dict[str, bool]] = defaultdict(dict)
    for (mark, _), entry in ledger.accepted.items():
        local_part, _, its_domain = entry.destination.partition("@")
        if its_domain == domain:
            expected[local_part][mark] = entry.acknowledged
    for user in USERS:
        was_taken_back = functools.partial(_was_taken_back, world, user)
        _check_one_user(
            user, ledger, expected[user], shown[user], flags[user], was_taken_back, world.cuts > 0, findings
        )


def _check_one_user(
    user: str,
    ledger: Ledger,
    sent: dict[str, bool],
    shown: dict[str, Counter[str]],
    flags: dict[str, set[str]],
    was_taken_back: Callable[[str], bool],
    had_power_cut: bool,
    findings: Findings,
) -> None:
    domain_user = f"{user}@example.test"
    seen = ledger.readers.get(domain_user, {})
    copies = ledger.readers.get(f"{domain_user} copies", {})
    main: Counter[str] = Counter()
    place: dict[str, str] = {}
    for mailbox_name, marks in shown.items():
        if mailbox_name != "Copies":
            main += marks
            place.update(dict.fromkeys(marks, mailbox_name))
    for mark in main.keys() | sent.keys() | seen.keys():
        count = main[mark]
        if count > 1:
            where = [f"{name} x{marks[mark]}" for name, marks in shown.items() if marks[mark]]
            history = seen[mark].history if mark in seen else []
            findings.doubled.append(f"{user}: {mark} is there {count} times ({', '.join([*where, *history])})")
        if mark in seen:
            allowed = set(seen[mark].places)
            if seen[mark].is_condemned:
                allowed.add(None)
            if had_power_cut:
                allowed |= seen[mark].shaky
            if not sent.get(mark, True) and "OK" not in seen[mark].history:
                # Shown before it was on disk, refused to its sender when the disk failed, and taken back.
                allowed.add(None)
        elif mark in sent:
            allowed = {INBOX} if sent[mark] else {INBOX, None}
        elif mark in ledger.retired:
            findings.wrong.append(f"{user}: {mark} came back")
            continue
        else:
            findings.wrong.append(f"{user}: {mark} was never sent here")
            continue
        found = place.get(mark)
        wrong_flags: list[str] = []
        if found is not None and found in allowed and mark in seen:
            wrong_flags = [
                f"{user}: flag {flag} of {mark} should be {value} ({', '.join(seen[mark].history)})"
                for flag, value in seen[mark].flags.items()
                if value is not None and (flag in flags.get(mark, set())) is not value
            ]
        if (found not in allowed or wrong_flags) and found == INBOX and mark in seen and was_taken_back(mark):
            # What was done to it before its delivery was undone was done to a message that had been expunged since.
            continue
        findings.lost += wrong_flags
        if found not in allowed:
            words = f"{user}: {mark} may be in {allowed} and is in {found}"
            if mark in seen:
                words += f" ({', '.join(seen[mark].history)})"
            (findings.lost if found is None else findings.wrong).append(words)
    for mark, sighting in copies.items():
        count = shown.get("Copies", Counter())[mark]
        if count > 1:
            findings.doubled.append(f"{user}: {count} copies of {mark}")
        elif count == 0 and None not in sighting.places:
            findings.lost.append(f"{user}: the copy of {mark}")


def _was_taken_back(world: World, user: str, mark: str) -> bool:
    """Was this message, which is in INBOX now, there before, until the flush of its delivery failed?"""
    maildir = world.maildir(user)
    needle = f"X-Mark: {mark}\n".encode()
    for path in [*(maildir / "new").glob("*"), *(maildir / "cur").glob("*")]:
        content = path.read_bytes()
        if needle in content and (found := _QUEUE_ID.search(content)):
            attempts = re.compile(rb": %s: to=<%s@.*status=deferred" % (found[1], user.encode()))
            return attempts.search(world.log.read_bytes()) is not None
    return False


def _by_imap(
    world: World, ledger: Ledger, user: str, password: str
) -> tuple[dict[str, Counter[str]], dict[str, set[str]]]:
    """Marks by mailbox, and the flags of each message outside Copies."""
    client = connect(world.endpoint("imap"), user, password)
    shown: dict[str, Counter[str]] = {}
    flags: dict[str, set[str]] = {}
    try:
        for name in (INBOX, *FOLDERS, "Copies"):
            if client.select(name)[0] != "OK":
                continue
            shown[name] = Counter(marks_by_uid(client, ledger, user, name).values())
            if name != "Copies":
                for _, mark, text in fetch(client):
                    match = _FLAGS.search(text)
                    words = match[1].decode().split() if match else []
                    flags[mark] = {_FLAG_NAMES.get(word.lower(), word) for word in words}
    finally:
        client.shutdown()
    return shown, flags


def _check_system_user(world: World, ledger: Ledger, findings: Findings) -> None:
    found: Counter[str] = Counter()
    if world.mbox.exists():
        box = mailbox.mbox(str(world.mbox), create=False)
        try:
            for key in box.keys():  # noqa: SIM118 - a mailbox is no dict
                content = box.get_bytes(key).replace(b"\n>From ", b"\nFrom ")
                _take(content, f"{world.mbox} message {key}", found, findings)
        finally:
            box.close()
    destination = f"{world.system_user}@localhost"
    sent = {mark: one.acknowledged for (mark, _), one in ledger.accepted.items() if one.destination == destination}
    for mark, count in found.items():
        if count > 1:
            findings.doubled.append(f"{world.mbox}: {mark} is there {count} times")
        if mark not in sent:
            words = "came back" if mark in ledger.retired else "was never sent here"
            findings.wrong.append(f"{world.mbox}: {mark} {words}")
    findings.lost += [f"{world.mbox}: {mark}" for mark, was_acked in sent.items() if was_acked and not found[mark]]


def _check_relayed(world: World, ledger: Ledger, windows: list[tuple[float, float]], findings: Findings) -> None:
    state = world.sink.state
    times: dict[str, list[float]] = defaultdict(list)
    whole: set[str] = set()
    with state.lock:
        for copy in state.copies:
            whole.add(copy.mark)
            if copy.answered:
                times[copy.mark].append(copy.at_s)
        bounces = list(state.bounces)
    findings.wrong += [f"returned: {one[-600:]!r}" for one in bounces]
    destination = f"someone@{DOMAIN}"
    sent = {mark: one.acknowledged for (mark, _), one in ledger.accepted.items() if one.destination == destination}
    findings.lost += [f"relay: {mark}" for mark, acknowledged in sent.items() if acknowledged and mark not in whole]
    for mark, at in times.items():
        if mark in ledger.retired:
            findings.doubled.append(f"relay: {mark} came a second time, rounds later")
        elif len(at) > 1:
            if all(any(begin <= one <= end for begin, end in windows) for one in at[:-1]):
                findings.relayed_twice += len(at) - 1
            else:
                findings.doubled.append(f"relay: {mark} came {len(at)} times, and no fault explains it")


def clear(world: World, ledger: Ledger) -> None:
    """Empty every mailbox through IMAP and the mbox by hand, and forget what was there but its marks."""
    marks: set[str] = {mark for mark, _ in ledger.accepted}
    for seen in ledger.readers.values():
        marks.update(seen)
    domain = world.facts["domain"]
    for user, password in USERS.items():
        for left in range(CLEAR_ATTEMPTS, 0, -1):
            try:
                _empty(world, f"{user}@{domain}", password)
                break
            except imaplib.IMAP4.error:
                # The first change after a failed flush is refused: it would stand on what the disk may not have.
                if left == 1:
                    raise
    world.mbox.unlink(missing_ok=True)
    world.cuts = 0
    with world.sink.state.lock:
        world.sink.state.copies.clear()
    ledger.retire(marks)


def _empty(world: World, user: str, password: str) -> None:
    client = connect(world.endpoint("imap"), user, password)
    try:
        for name in (INBOX, *FOLDERS, "Copies"):
            status, count = client.select(name)
            if status == "OK" and count != [b"0"]:
                expect_ok(client.store("1:*", "+FLAGS.SILENT", "(\\Deleted)"))
                expect_ok(client.expunge())
    finally:
        client.shutdown()
