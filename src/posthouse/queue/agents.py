"""The delivery processes that are connected: who delivers for whom, what they have in hand, what they may forget."""

from collections.abc import Callable
from typing import Final

from posthouse.core.identifiers import DeliveryId, QueueId
from posthouse.queue.scheduler import Job
from posthouse.queue.transports import MAILBOX
from posthouse.runtime.ipc import Connection
from posthouse.runtime.schema import Retired

MAX_RETIRED_PER_NOTE: Final = 5000


class Agent:
    """One connected delivery process."""

    __slots__ = ("connection", "jobs", "kind", "open", "retired", "worker")

    def __init__(self, kind: str, worker: int, connection: Connection) -> None:
        self.kind = kind
        self.worker = worker
        self.connection = connection
        self.open = 0
        self.jobs: dict[QueueId, list[Job]] = {}
        self.retired: list[DeliveryId] = []


class Agents:
    """Owns the registrations. `on_ready(kind)` is called when a process of a kind has come (back)."""

    def __init__(self, on_ready: Callable[[str], None]) -> None:
        self._on_ready = on_ready
        self._by_kind: dict[str, dict[int, Agent]] = {}
        self._replaced: dict[tuple[str, int], list[Agent]] = {}
        """Connected, but another process came later. While a worker is being replaced there are two of it, and after a
        restart of ours the one that goes may register after the one that stays."""
        self._with_retired: set[Agent] = set()

    def register(self, kind: str, worker: int, connection: Connection) -> Agent:
        """A worker that registers again (it was replaced) takes the place of the one before."""
        agent = Agent(kind, worker, connection)
        workers = self._by_kind.setdefault(kind, {})
        if worker in workers:
            self._replaced.setdefault((kind, worker), []).append(workers[worker])
        workers[worker] = agent
        connection.closed.add_done_callback(lambda _: self._lost(agent))
        self._on_ready(kind)
        return agent

    def _lost(self, agent: Agent) -> None:
        self._with_retired.discard(agent)
        workers = self._by_kind[agent.kind]
        replaced = self._replaced.get((agent.kind, agent.worker), [])
        if workers.get(agent.worker) is not agent:
            replaced.remove(agent)
        elif replaced:
            workers[agent.worker] = replaced.pop()
            self._on_ready(agent.kind)
        else:
            del workers[agent.worker]

    def choose(self, kind: str, worker: int) -> Agent | None:
        """For "mailbox" the one worker that owns the user, for the others the one with the least to do."""
        workers = self._by_kind.get(kind)
        if not workers:
            return None
        if kind == MAILBOX:
            return workers.get(worker)
        return min(workers.values(), key=lambda agent: agent.open)

    def started(self, agent: Agent, queue_id: QueueId, job: Job) -> None:
        agent.open += 1
        agent.jobs.setdefault(queue_id, []).append(job)

    def ended(self, agent: Agent, queue_id: QueueId, job: Job) -> None:
        agent.open -= 1
        jobs = agent.jobs[queue_id]
        if len(jobs) == 1:
            del agent.jobs[queue_id]
        else:
            jobs.remove(job)

    def retire(self, agent: Agent, deliveries: list[DeliveryId]) -> None:
        """These deliveries are recorded as done; told with the next `flush_notes`."""
        agent.retired.extend(deliveries)
        self._with_retired.add(agent)

    def flush_notes(self) -> None:
        """Once per journal batch."""
        if not self._with_retired:
            return
        for agent in self._with_retired:
            for start in range(0, len(agent.retired), MAX_RETIRED_PER_NOTE):
                agent.connection.notify(Retired(tuple(agent.retired[start : start + MAX_RETIRED_PER_NOTE])))
            agent.retired.clear()
        self._with_retired.clear()
