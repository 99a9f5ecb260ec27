"""Clients that work until they are told to stop, and write down what they were told.

A client that loses its connection, or is told to come later, begins anew after a moment; it never repeats a message:
whether that one arrived is unknown and either is fine.
"""

import contextlib
import imaplib
import random
import re
import smtplib
import threading
import zlib
from typing import Final

from torture.ledger import INBOX, Ledger, Sighting
from torture.peers import DOMAIN

PATIENCE_S: Final = 15.0
PAUSE_S: Final = 0.05
SENDER: Final = f"sender@{DOMAIN}"
SIZES: Final = (400, 900, 900, 900, 3000, 40_000, 300_000)
"""Octets of a body; the last two are beyond the limits from which content travels in pieces and gets a file."""
FLAGS: Final = ("\\Seen", "\\Flagged", "\\Answered", "$Torture")
FOLDERS: Final = ("Kept", "Other")
_MARK: Final = re.compile(rb"X-Mark: (\S+)", re.IGNORECASE)
_UID: Final = re.compile(rb"UID (\d+)")

Lost = (OSError, EOFError, smtplib.SMTPException, imaplib.IMAP4.error)
"""imaplib's abort and readonly are errors, too; what the server refused is told apart where it matters."""


def message(mark: str, size: int, chance: random.Random) -> bytes:
    """With its own checksum; lines of all kinds, dots at their beginning among them."""
    lines = []
    left = size
    while left > 0:
        line = "." * chance.choice((0, 0, 0, 1, 2)) + "".join(chance.choices("abcdefgh 0123456789", k=70))
        lines.append(line.rstrip() or "x")
        left -= len(lines[-1]) + 2
    body = ("\r\n".join(lines) + "\r\n").encode()
    head = f"From: {SENDER}\r\nSubject: {mark}\r\nX-Mark: {mark}\r\nX-Sum: {zlib.crc32(body):08x}\r\n\r\n"
    return head.encode() + body


class Client(threading.Thread):
    def __init__(self, name: str, ledger: Ledger, stop: threading.Event, seed: str) -> None:
        super().__init__(name=name, daemon=True)
        self.ledger = ledger
        self.stop = stop
        self.chance = random.Random(seed)
        self.operations = 0
        self.broken: Exception | None = None

    def run(self) -> None:
        while not self.stop.is_set():
            try:
                self.work()
            except Lost:
                self.stop.wait(PAUSE_S)
            except Exception as error:  # a bug of the torture itself: the round reports it
                self.broken = error
                return

    def work(self) -> None:
        """One connection, until it ends or the stop."""
        raise NotImplementedError


class Sender(Client):
    """SMTP (one message to one or more destinations) or LMTP (to one)."""

    def __init__(
        self,
        name: str,
        ledger: Ledger,
        stop: threading.Event,
        seed: str,
        *,
        endpoint: tuple[str, int],
        destinations: tuple[str, ...],
        is_lmtp: bool = False,
    ) -> None:
        super().__init__(name, ledger, stop, seed)
        self._endpoint = endpoint
        self._destinations = destinations
        self._is_lmtp = is_lmtp

    def work(self) -> None:
        kind = smtplib.LMTP if self._is_lmtp else smtplib.SMTP
        host, port = self._endpoint
        # The name is given: smtplib would ask the machine's resolver for it.
        with contextlib.closing(kind(host, port, local_hostname="torture.test", timeout=PATIENCE_S)) as client:
            for _ in range(self.chance.randint(1, 20)):
                if self.stop.is_set():
                    break
                self._send(client)

    def _send(self, client: smtplib.SMTP) -> None:
        count = 1 if self._is_lmtp else self.chance.choice((1, 1, 1, 2, 3))
        destinations = self.chance.sample(self._destinations, min(count, len(self._destinations)))
        mark = self.ledger.new_mark(self.name)
        entries = {one: self.ledger.send(mark, one) for one in destinations}
        try:
            refused = client.sendmail(SENDER, destinations, message(mark, self.chance.choice(SIZES), self.chance))
        except smtplib.SMTPResponseException:
            # In words, so this connection goes on; nothing was promised.
            with contextlib.suppress(smtplib.SMTPException):
                client.rset()
            self.stop.wait(PAUSE_S)
            return
        for one, entry in entries.items():
            entry.acknowledged = one not in refused
        self.operations += 1


class Reader(Client):
    """One user's only IMAP client: appends, stores flags, copies, moves and expunges, in the INBOX that mail arrives in
    and in two other mailboxes."""

    def __init__(
        self,
        name: str,
        ledger: Ledger,
        stop: threading.Event,
        seed: str,
        *,
        endpoint: tuple[str, int],
        user: str,
        password: str,
    ) -> None:
        super().__init__(name, ledger, stop, seed)
        self._endpoint = endpoint
        self._user = user
        self._password = password
        self._seen = ledger.sightings(user)

    def work(self) -> None:
        client = connect(self._endpoint, self._user, self._password)
        try:
            for folder in FOLDERS:
                client.create(folder)
            while not self.stop.is_set():
                self._in_mailbox(client, self.chance.choice((INBOX, INBOX, *FOLDERS)))
        finally:
            with contextlib.suppress(*Lost):
                client.shutdown()

    def _in_mailbox(self, client: imaplib.IMAP4, mailbox: str) -> None:
        expect_ok(client.select(mailbox))
        present = self._notice(client, mailbox)
        for _ in range(self.chance.randint(1, 6)):
            if self.stop.is_set():
                return
            action = self.chance.choice((self._append, self._store, self._store, self._copy, self._move, self._expunge))
            action(client, mailbox, present)
            self.operations += 1

    def _notice(self, client: imaplib.IMAP4, mailbox: str) -> dict[int, str]:
        """UIDs and marks. What is seen is there for certain, whatever its sender heard."""
        present = marks_by_uid(client, self.ledger, self._user, mailbox)
        for mark in present.values():
            sighting = self._seen.setdefault(mark, Sighting({mailbox}))
            if sighting.places != {mailbox}:
                sighting.history.append(f"seen in {mailbox}")
                sighting.shaky |= sighting.places
            sighting.places = {mailbox}
        return present

    def _pick(self, present: dict[int, str]) -> tuple[list[int], list[Sighting]]:
        uids = self.chance.sample(sorted(present), min(len(present), self.chance.choice((1, 1, 2, 5))))
        return uids, [self._seen[present[uid]] for uid in uids]

    def _append(self, client: imaplib.IMAP4, mailbox: str, present: dict[int, str]) -> None:
        mark = self.ledger.new_mark(self.name)
        flags = self.chance.sample(FLAGS, self.chance.randint(0, 2))
        sighting = Sighting({None, mailbox}, {flag: flag in flags for flag in FLAGS})
        self._seen[mark] = sighting
        content = message(mark, self.chance.choice(SIZES[:-1]), self.chance)
        sighting.history.append(f"APPEND {mailbox}")
        status, _ = client.append(mailbox, f"({' '.join(flags)})", "", content)
        noted([sighting], status)
        if status == "OK":
            sighting.places = {mailbox}

    def _store(self, client: imaplib.IMAP4, mailbox: str, present: dict[int, str]) -> None:
        uids, sightings = self._pick(present)
        if not uids:
            return
        flag = self.chance.choice(FLAGS)
        wanted = self.chance.random() < 0.7
        for one in sightings:
            one.flags[flag] = None
            one.history.append(f"STORE {flag} {wanted} in {mailbox}")
        sign = "+" if wanted else "-"
        status, rows = client.uid("STORE", joined(uids), f"{sign}FLAGS", f"({flag})")
        noted(sightings, status)
        if status == "OK":
            answered = set(UID_IN_ROW.findall(b"".join(row for row in rows if isinstance(row, bytes))))
            for uid, one in zip(uids, sightings, strict=True):
                if b"%d" % uid in answered:
                    one.flags[flag] = wanted

    def _copy(self, client: imaplib.IMAP4, mailbox: str, present: dict[int, str]) -> None:
        """A copy has the same mark; so it goes to another user's eyes: the mailbox Copies, which only counts."""
        uids, _ = self._pick(present)
        if not uids:
            return
        copies = self.ledger.sightings(f"{self._user} copies")
        marks = [present[uid] for uid in uids]
        fresh = [uid for uid, mark in zip(uids, marks, strict=True) if mark not in copies]
        for uid in fresh:
            copies[present[uid]] = Sighting({None, "Copies"})
        if not fresh:
            return
        client.create("Copies")
        for uid in copied(client, fresh, "Copies"):
            copies[present[uid]].places = {"Copies"}

    def _move(self, client: imaplib.IMAP4, mailbox: str, present: dict[int, str]) -> None:
        uids, sightings = self._pick(present)
        target = self.chance.choice([one for one in (INBOX, *FOLDERS) if one != mailbox])
        if not uids:
            return
        for one in sightings:
            one.places = {mailbox, target}
            one.history.append(f"MOVE {mailbox} to {target}")
        for uid in uids:
            del present[uid]
        client.response("COPYUID")
        status, _ = client.uid("MOVE", joined(uids), target)
        noted(sightings, status)
        moved = sources((client.response("COPYUID")[1] or [b""])[-1] or b"")
        if status == "OK":
            for uid, one in zip(uids, sightings, strict=True):
                if uid in moved:
                    one.places = {target}
                    one.shaky.clear()

    def _expunge(self, client: imaplib.IMAP4, mailbox: str, present: dict[int, str]) -> None:
        uids, sightings = self._pick(present)
        if not uids:
            return
        for uid in uids:
            del present[uid]
        if not said_ok(client.uid("STORE", joined(uids), "+FLAGS.SILENT", "(\\Deleted)")):
            return  # EXPUNGE would find nothing to do, and say OK
        for one in sightings:
            one.places = {mailbox, None}
            one.is_condemned = True
            one.history.append(f"EXPUNGE from {mailbox}")
        client.response("EXPUNGE")
        status, _ = client.uid("EXPUNGE", joined(uids))
        noted(sightings, status)
        gone = [row for row in client.response("EXPUNGE")[1] if row is not None]
        if status == "OK" and len(gone) >= len(uids):
            for one in sightings:
                one.places = {None}
                one.shaky.clear()


def connect(endpoint: tuple[str, int], user: str, password: str) -> imaplib.IMAP4:
    client = imaplib.IMAP4(*endpoint, timeout=PATIENCE_S)
    try:
        client.login(user, password)
    except BaseException:
        client.shutdown()
        raise
    return client


# A message whose delivery could not be flushed may be shown, then taken back until the queue delivers it again. What
# is done to its UID meanwhile is answered with OK and does nothing (RFC 9051 s6.4.9); so the answers must name it.
UID_IN_ROW: Final = re.compile(rb"UID (\d+)")


def copied(client: imaplib.IMAP4, uids: list[int], target: str) -> set[int]:
    """Those of the UIDs that the answer says were copied (RFC 4315)."""
    # imaplib.uid hides the text of the tagged answer.
    status, [text] = client._simple_command("UID", "COPY", joined(uids), target)  # type: ignore[attr-defined]
    found = re.match(rb"\[COPYUID ([^\]]*)\]", text or b"")
    return sources(found[1]) if status == "OK" and found else set()


def sources(copyuid: bytes) -> set[int]:
    """The old UIDs of "validity old new"."""
    _, _, sets = copyuid.decode().partition(" ")
    ranges = [one.partition(":") for one in sets.partition(" ")[0].split(",") if one]
    return {uid for first, _, last in ranges for uid in range(int(first), int(last or first) + 1)}


def joined(uids: list[int]) -> str:
    return ",".join(map(str, sorted(uids)))


def said_ok(answer: tuple[str, object]) -> bool:
    """NO promises nothing (BAD and a lost connection are exceptions)."""
    return answer[0] == "OK"


def noted(sightings: list[Sighting], status: str) -> None:
    for one in sightings:
        one.history.append(status)


def expect_ok(answer: tuple[str, object]) -> None:
    if answer[0] != "OK":
        raise imaplib.IMAP4.error(str(answer))


def marks_by_uid(client: imaplib.IMAP4, ledger: Ledger, user: str, mailbox: str) -> dict[int, str]:
    """The selected mailbox; raises AssertionError if a UID names another message than before."""
    uidvalidity = (client.response("UIDVALIDITY")[1] or [b"0"])[0]
    assert uidvalidity is not None
    found: dict[int, str] = {}
    for uid, mark, _ in fetch(client):
        found[uid] = mark
        known = ledger.uids.setdefault((user, mailbox, uidvalidity.decode(), uid), mark)
        assert known == mark, f"{user} {mailbox} UID {uid} was {known} and is now {mark}"
    return found


def fetch(client: imaplib.IMAP4) -> list[tuple[int, str, bytes]]:
    """UID, mark and the text with the flags of every message in the selected mailbox."""
    status, rows = client.uid("FETCH", "1:*", "(UID FLAGS BODY.PEEK[HEADER.FIELDS (X-MARK)])")
    if status != "OK":
        raise imaplib.IMAP4.error("FETCH")
    found = []
    for row in rows:
        if isinstance(row, tuple):
            mark = _MARK.search(row[1])
            uid = _UID.search(row[0])
            if mark is not None and uid is not None:
                found.append((int(uid[1]), mark[1].decode(), row[0]))
    return found
