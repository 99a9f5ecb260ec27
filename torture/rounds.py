"""One round: load, faults, healing, quiet, and the reckoning."""

import threading
import time
from collections import Counter
from pathlib import Path
from typing import Final

from torture import faults
from torture.ledger import Ledger
from torture.load import Client, Reader, Sender, connect
from torture.peers import DOMAIN
from torture.plan import MAY_SEND_TWICE, Round, plan
from torture.reconcile import Findings, clear, reconcile
from torture.world import READERS, USERS, World

QUIET_LIMIT_S: Final = 90.0
CLIENT_LIMIT_S: Final = 60.0
CLEAR_EVERY: Final = 5
"""Rounds after which mailboxes are emptied: what they hold is read in every round."""
AFTERMATH_S: Final = 1.0
"""A message that the peer answered this long after a fault may still have been touched by it."""


class Torture:
    def __init__(self, directory: Path, seed: int) -> None:
        self.seed = seed
        self.world = World(directory)
        self.ledger = Ledger()
        self.possible = faults.possible(self.world)
        self.rounds = 0
        self.faults: Counter[str] = Counter()
        self.failed_calls = 0
        self.operations = 0
        self.lost = 0
        self.doubled = 0
        self.wrong = 0
        self.relayed_twice = 0
        self.is_ending = False
        """Set by who wants the run to end after this round."""
        self._windows: list[tuple[float, float]] = []

    def run(self, first: int, count: int) -> bool:
        """Whether something was wrong; ends with the round in which it was."""
        missing = [one for one in faults.FAULTS if one not in self.possible]
        if missing:
            print(f"not possible here (root, or a C compiler, is missing): {', '.join(missing)}", flush=True)
        self.world.start()
        for number in range(first, first + count):
            if self.is_ending:
                break
            one = plan(self.seed, number, self.possible)
            began = time.monotonic()
            findings = self._round(one)
            self.rounds += 1
            self.lost += len(findings.lost)
            self.doubled += len(findings.doubled)
            self.wrong += len(findings.wrong)
            self.relayed_twice += findings.relayed_twice
            words = ", ".join(event.fault for event in one.events)
            print(f"round {number}: {words}; {time.monotonic() - began:.1f} s", flush=True)
            if findings:
                print(f"round {number} of seed {self.seed} failed:", *findings.lines(), sep="\n", flush=True)
                print(f"again: make torture SEED={self.seed} ROUNDS={number + 1}", flush=True)
                return True
            if (number - first) % CLEAR_EVERY == CLEAR_EVERY - 1:
                clear(self.world, self.ledger)
                self._windows.clear()
        return False

    def close(self) -> None:
        self.world.close()

    def summary(self) -> str:
        kinds = ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items()))
        return f"{self.world.starts} starts, {self.failed_calls} system calls made to fail, {kinds}"

    def last_line(self) -> str:
        line = (
            f"torture: rounds {self.rounds}, faults {self.faults.total()}, operations {self.operations},"
            f" messages {self.ledger.total}, lost {self.lost}, duplicated {self.doubled}"
        )
        if self.wrong:
            line += f", otherwise wrong {self.wrong}"
        return f"{line}, relayed twice inside the window {self.relayed_twice}"

    # ── one round ──

    def _round(self, one: Round) -> Findings:
        stop = threading.Event()
        clients = self._clients(stop, f"{self.seed}/{one.number}")
        for client in clients:
            client.start()
        try:
            self._suffer(one)
        finally:
            stop.set()
        if not self.world.is_running:
            self.world.start()
        give_up = time.monotonic() + CLIENT_LIMIT_S
        for client in clients:
            client.join(max(0.1, give_up - time.monotonic()))
        findings = Findings()
        for client in clients:
            self.operations += client.operations
            if client.is_alive():
                findings.wrong.append(f"client {client.name} does not end")
            if isinstance(client.broken, AssertionError):
                findings.wrong.append(f"client {client.name}: {client.broken}")
            elif client.broken is not None:
                raise client.broken
        if findings:
            return findings
        if not self.world.wait(self._is_quiet, QUIET_LIMIT_S):
            findings.wrong.append(f"after {QUIET_LIMIT_S:.0f} s the queue still holds {self.world.queued()} messages")
            return findings
        return reconcile(self.world, self.ledger, self._windows)

    def _suffer(self, one: Round) -> None:
        """Faults begin and end at their times; those that overlap do so."""
        began = time.monotonic()
        begun: list[float] = []
        todo = [(event.at_s, 0, event) for event in one.events]
        undo: dict[int, faults.Undo] = {}
        todo += [(event.at_s + event.for_s, 1, event) for event in one.events]
        for at_s, is_end, event in sorted(todo, key=lambda entry: entry[:2]):
            time.sleep(max(0.0, began + at_s - time.monotonic()))
            if is_end:
                undo[id(event)]()
            else:
                begun.append(time.monotonic())
                undo[id(event)] = faults.begin(self.world, event)
                self.faults[event.fault] += 1
        if self.world.injection is not None:
            self.failed_calls += self.world.injection.disarm()
            self.world.injection.shift_clock(0)
        time.sleep(max(0.0, began + one.load_s - time.monotonic()))
        if any(event.fault in MAY_SEND_TWICE for event in one.events):
            # What was under way when the fault began was handed to the peer a little before.
            self._windows.append((begun[0] - AFTERMATH_S, time.monotonic() + AFTERMATH_S))

    def _is_quiet(self) -> bool:
        if not self.world.is_running:
            self.world.start()
        if self.world.queued() != 0:
            return False
        try:
            for name in USERS:
                connect(self.world.endpoint("imap"), f"{name}@{self.world.facts['domain']}", USERS[name]).shutdown()
        except (OSError, EOFError) as error:
            del error
            return False
        except Exception as error:  # imaplib's own error: not yet
            return "imaplib" in type(error).__module__ and False
        return True

    def _clients(self, stop: threading.Event, seed: str) -> list[Client]:
        world, ledger = self.world, self.ledger
        domain = world.facts["domain"]
        local = tuple(f"{name}@{domain}" for name in USERS)
        everywhere = (*local, f"{world.system_user}@localhost", f"someone@{DOMAIN}", *local)
        clients: list[Client] = [
            Sender(
                f"s{n}.{seed}", ledger, stop, f"{seed}/s{n}", endpoint=world.endpoint("smtp"), destinations=everywhere
            )
            for n in range(3)
        ]
        clients.append(
            Sender(
                f"l.{seed}",
                ledger,
                stop,
                f"{seed}/l",
                endpoint=world.endpoint("lmtp"),
                destinations=local,
                is_lmtp=True,
            )
        )
        clients += [
            Reader(
                f"r{n}.{seed}",
                ledger,
                stop,
                f"{seed}/r{n}",
                endpoint=world.endpoint("imap"),
                user=f"{name}@{domain}",
                password=USERS[name],
            )
            for n, name in enumerate(READERS)
        ]
        return clients
