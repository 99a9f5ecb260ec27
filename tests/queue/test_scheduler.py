"""nqmgr's behaviour under a simulated clock."""

import heapq
import itertools
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posthouse.queue.fairness import FairQueue
from posthouse.queue.scheduler import Job, Limits, Scheduler

LIMITS = Limits(processes=0, concurrency=20, initial=5, dead_time_s=300.0)


class Simulation:
    """Agents that take a fixed time, or as long as the test likes."""

    def __init__(self, limits: Limits | dict[str, Limits] = LIMITS) -> None:
        self.limits = limits
        self.now_s = 0.0
        self.running: list[Job] = []
        self.started: list[Job] = []
        self.given_up: list[tuple[Job, str]] = []
        self.events: list[tuple[float, int, Job]] = []
        self.number = itertools.count()
        self.duration_s = 0.0
        self.peak: dict[str, int] = {}
        self.scheduler = Scheduler(self._limits, self._start, self._give_up)

    def _limits(self, name: str) -> Limits:
        return self.limits[name] if isinstance(self.limits, dict) else self.limits

    def _start(self, job: Job) -> None:
        self.running.append(job)
        self.started.append(job)
        busy = sum(one.destination == job.destination for one in self.running)
        self.peak[job.destination] = max(busy, self.peak.get(job.destination, 0))
        if self.duration_s:
            heapq.heappush(self.events, (self.now_s + self.duration_s, next(self.number), job))

    def _give_up(self, job: Job, dsn: str, reason: str) -> None:
        self.given_up.append((job, reason))

    def add(self, message: str, destination: str = "d", count: int = 1, transport: str = "smtp") -> list[Job]:
        jobs = [Job(transport, destination, message) for _ in range(count)]
        for job in jobs:
            self.scheduler.add(job, self.now_s)
        return jobs

    def finish(self, job: Job, failed: tuple[str, str] | None = None) -> None:
        self.running.remove(job)
        self.scheduler.finished(job, self.now_s, failed=failed)

    def advance(self, until_s: float) -> None:
        while True:
            wakeup = self.scheduler.next_wakeup_s()
            event = self.events[0][0] if self.events else float("inf")
            at = min(event, wakeup if wakeup is not None else float("inf"))
            if at > until_s:
                break
            self.now_s = at
            if event <= at:
                self.finish(heapq.heappop(self.events)[2])
            else:
                self.scheduler.wake(at)
        self.now_s = until_s


def test_a_new_destination_starts_with_the_initial_concurrency_and_grows_to_the_limit() -> None:
    simulation = Simulation()
    simulation.add("m", count=500)
    assert len(simulation.running) == 5
    simulation.duration_s = 1.0
    for job in list(simulation.running):
        heapq.heappush(simulation.events, (1.0, next(simulation.number), job))
    simulation.advance(100.0)
    assert simulation.peak["d"] == 20
    assert len(simulation.started) == 500


def test_no_limit_means_no_limit() -> None:
    simulation = Simulation(replace(LIMITS, concurrency=0, initial=3))
    simulation.duration_s = 1.0
    simulation.add("m", count=2000)
    simulation.advance(1000.0)
    assert simulation.peak["d"] > 20
    assert len(simulation.started) == 2000


def test_a_destination_that_fails_for_a_whole_round_is_dead_and_comes_back_later() -> None:
    simulation = Simulation()
    jobs = simulation.add("m", count=8)
    for job in jobs[:5]:
        simulation.finish(job, failed=("4.4.1", "connection refused"))
    # The failures of one round of the window (five, minus what the window lost meanwhile) are enough.
    assert [reason for _, reason in simulation.given_up] == ["connection refused"] * len(simulation.given_up)
    assert len(simulation.given_up) >= 1
    before = len(simulation.given_up)
    simulation.add("other")
    assert len(simulation.given_up) == before + 1
    for job in list(simulation.running):
        simulation.finish(job, failed=("4.4.1", "connection refused"))
    simulation.advance(301.0)
    late = simulation.add("late")
    assert late[0] in simulation.running


def test_a_success_revives_a_dead_destination() -> None:
    simulation = Simulation(replace(LIMITS, initial=2, concurrency=2))
    first, second = simulation.add("m", count=2)
    third = Job("smtp", "d", "n")
    simulation.finish(first, failed=("4.4.1", "refused"))
    simulation.scheduler.add(third, simulation.now_s)
    simulation.finish(second)
    (after,) = simulation.add("o")
    assert after in simulation.running


def test_a_flush_revives_dead_destinations() -> None:
    simulation = Simulation(replace(LIMITS, initial=1))
    (job,) = simulation.add("m")
    simulation.finish(job, failed=("4.4.1", "refused"))
    simulation.add("n")
    assert simulation.given_up
    simulation.scheduler.revive()
    (again,) = simulation.add("o")
    assert again in simulation.running


def test_cohort_limit_zero_means_never_dead_but_gentle() -> None:
    simulation = Simulation(replace(LIMITS, failed_cohorts=0, initial=5))
    simulation.add("m", count=100)
    for _ in range(30):
        simulation.finish(simulation.running[0], failed=("4.4.1", "refused"))
    assert not simulation.given_up
    assert len(simulation.running) == 1


def test_slow_feedback_needs_as_many_successes_as_the_window_is_wide() -> None:
    simulation = Simulation(replace(LIMITS, positive=(1.0, "concurrency"), initial=4))
    simulation.add("m", count=100)
    for _ in range(3):
        simulation.finish(simulation.running[0])
    assert len(simulation.running) <= 5
    for _ in range(5):
        simulation.finish(simulation.running[0])
    assert len(simulation.running) in (5, 6)


def test_two_messages_share_a_destination_evenly() -> None:
    simulation = Simulation(replace(LIMITS, initial=1, concurrency=1))
    simulation.add("big", count=100)
    simulation.add("small", count=3)
    for _ in range(8):
        simulation.finish(simulation.running[0])
    served = [job.message for job in simulation.started]
    assert served.index("small") <= 2
    assert served[:8].count("small") == 3


def test_a_message_with_thousands_of_destinations_does_not_stand_before_a_small_one() -> None:
    simulation = Simulation(replace(LIMITS, processes=10))
    for number in range(2000):
        simulation.add("big", f"d{number}")
    simulation.add("small", "elsewhere")
    for _ in range(3):
        simulation.finish(simulation.running[0])
    assert "small" in [job.message for job in simulation.started]


def test_the_process_limit_holds_over_all_destinations() -> None:
    simulation = Simulation(replace(LIMITS, processes=7))
    simulation.duration_s = 1.0
    most = 0
    for number in range(50):
        simulation.add("m", f"d{number % 10}")
        most = max(most, len(simulation.running))
    simulation.advance(100.0)
    assert most == 7
    assert len(simulation.started) == 50


def test_written_deliveries_free_their_place_but_stay_open() -> None:
    simulation = Simulation(replace(LIMITS, initial=1, concurrency=1, open_limit=3))
    jobs = simulation.add("m", count=5)
    simulation.scheduler.written(jobs[0], 0.0)
    simulation.scheduler.written(jobs[1], 0.0)
    simulation.scheduler.written(jobs[2], 0.0)
    assert simulation.started == jobs[:3]
    assert simulation.scheduler.open_jobs == 3
    simulation.finish(jobs[0])
    assert simulation.started == jobs[:4]
    simulation.scheduler.written(jobs[0], 0.0)  # a note that comes too late
    assert simulation.started == jobs[:4]


def test_rate_delay_leaves_a_pause_between_two_deliveries_to_a_destination() -> None:
    simulation = Simulation(replace(LIMITS, rate_delay_s=10.0))
    simulation.duration_s = 1.0
    simulation.add("m", count=3)
    simulation.add("m", "other")
    simulation.advance(10.5)
    assert [job.destination for job in simulation.started] == ["d", "other"]
    simulation.advance(11.5)
    assert len(simulation.started) == 3
    simulation.advance(23.0)
    assert len(simulation.started) == 4


def test_transport_rate_delay_counts_over_all_destinations() -> None:
    simulation = Simulation(replace(LIMITS, transport_rate_delay_s=5.0))
    for number in range(3):
        simulation.add("m", f"d{number}")
    assert len(simulation.started) == 1
    simulation.advance(5.1)
    assert len(simulation.started) == 2
    simulation.advance(10.1)
    assert len(simulation.started) == 3


def test_a_paused_transport_waits_and_goes_on() -> None:
    simulation = Simulation({"smtp": LIMITS, "virtual": LIMITS})
    simulation.scheduler.pause("smtp")
    simulation.add("m", count=3)
    simulation.add("m", "d", transport="virtual")
    assert [job.transport for job in simulation.started] == ["virtual"]
    simulation.scheduler.resume("smtp", 1.0)
    assert len(simulation.started) == 4


def test_what_waits_for_an_absent_agent_is_given_up_together() -> None:
    simulation = Simulation()
    simulation.scheduler.pause("smtp")
    simulation.add("m", "d", 30)
    simulation.add("n", "e", 2)
    simulation.scheduler.abandon("smtp", "4.3.0", "mail transport unavailable")
    assert len(simulation.given_up) == 32
    simulation.scheduler.resume("smtp", 1.0)
    assert not simulation.started
    assert simulation.add("o")[0] in simulation.running


def test_withdrawing_takes_back_only_what_has_not_begun() -> None:
    simulation = Simulation(replace(LIMITS, initial=2, processes=1))
    jobs = simulation.add("m", count=5)
    simulation.add("n")
    back = simulation.scheduler.withdraw("smtp", "d", "m", 0.0)
    assert set(map(id, back)) == set(map(id, jobs[1:]))
    simulation.finish(jobs[0])
    assert simulation.started[-1].message == "n"


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from("xyz"), st.sampled_from(("ok", "fail", "written", "return"))),
        max_size=80,
    ),
    st.integers(0, 4),
    st.integers(0, 3),
)
def test_every_job_ends_once_and_the_limits_always_hold(
    plan: list[tuple[str, str, str]], processes: int, concurrency: int
) -> None:
    simulation = Simulation(
        replace(LIMITS, processes=processes, concurrency=concurrency, initial=2, failed_cohorts=2, dead_time_s=5.0)
    )
    ended: list[Job] = []
    written: set[int] = set()
    for message, destination, what in plan:
        simulation.add(message, destination)
        candidates = [job for job in simulation.running if id(job) not in written]
        if candidates:
            job = candidates[len(ended) % len(candidates)]
            if what == "written":
                written.add(id(job))
                simulation.scheduler.written(job, simulation.now_s)
            else:
                simulation.running.remove(job)
                ended.append(job)
                if what == "return":
                    simulation.scheduler.returned(job, simulation.now_s)
                else:
                    failed = ("4.4.1", "x") if what == "fail" else None
                    simulation.scheduler.finished(job, simulation.now_s, failed=failed)
        counted = [job for job in simulation.running if id(job) not in written]
        assert not processes or len(counted) <= processes
        simulation.now_s += 1.0
        simulation.scheduler.wake(simulation.now_s)
    for _ in range(len(plan) * 3):
        if simulation.running:
            job = simulation.running.pop(0)
            ended.append(job)
            simulation.scheduler.finished(job, simulation.now_s)
        simulation.now_s += 10.0
        simulation.scheduler.wake(simulation.now_s)
    assert len(ended) + len(simulation.given_up) == len(plan)
    assert simulation.scheduler.open_jobs == 0


def test_fair_queue_serves_keys_in_turn() -> None:
    queue: FairQueue[str] = FairQueue()
    for item in ("a1", "a2", "a3", "b1", "c1", "c2"):
        queue.push(item[0], item)
    queue.push_front("b", "b0")
    assert [queue.pop() for _ in range(len(queue))] == ["b0", "a1", "c1", "b1", "a2", "c2", "a3"]
    with pytest.raises(StopIteration):
        queue.pop()


def test_an_event_costs_the_same_however_much_is_waiting() -> None:
    def cost(waiting: int) -> float:
        simulation = Simulation(replace(LIMITS, processes=100))
        for number in range(waiting):
            simulation.add(f"m{number % 1000}", f"d{number % 5000}")
        began = time.perf_counter()
        for _ in range(500):
            job = simulation.running.pop(0)
            simulation.scheduler.finished(job, 0.0)
        return time.perf_counter() - began

    small = min(cost(1000) for _ in range(3))
    large = min(cost(50_000) for _ in range(2))
    assert large < small * 8
