"""Estimates the remaining time of a request from earlier runs of the same jobs."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from spincycle.cli.render.times import seconds
from spincycle.model.state import State

if TYPE_CHECKING:
    from spincycle.cli.live_request import LiveJob
    from spincycle.cli.transport.backend import Backend
    from spincycle.v1 import job_chain_pb2, job_log_pb2

_MOST_REQUESTS = 3
_MOST_ENTRIES = 5000


class TypicalDurations:
    """Mean durations of completed tries, by job name and type, and by type alone."""

    def __init__(self, entries: Iterable[job_log_pb2.JobLog] = ()) -> None:
        self._sums: dict[tuple[str, str], tuple[float, int]] = {}
        for entry in entries:
            self.add(entry)

    def add(self, entry: job_log_pb2.JobLog) -> None:
        """Count one journal entry; ignored unless it is a completed try."""
        started, finished = seconds(entry, "started_at"), seconds(entry, "finished_at")
        if State(entry.state) is not State.COMPLETE or started is None or finished is None:
            return
        for key in ((entry.type, entry.name), (entry.type, "")):
            total, count = self._sums.get(key, (0.0, 0))
            self._sums[key] = (total + finished - started, count + 1)

    def of(self, kind: str, name: str) -> float | None:
        """Return the mean duration of such jobs in seconds; None if none was counted."""
        known = self._sums.get((kind, name)) or self._sums.get((kind, ""))
        return known[0] / known[1] if known else None

    def __bool__(self) -> bool:
        return bool(self._sums)


async def typical_durations(backend: Backend, kind: str) -> TypicalDurations:
    """Return the durations of jobs in the newest completed requests of a type.

    Raises:
        SpinCycleError: a read failed.
    """
    from spincycle.cli.transport.backend import EntryFilter
    from spincycle.v1 import request_pb2, state_pb2

    durations = TypicalDurations()
    completed = request_pb2.RequestFilter(type=kind, states=[state_pb2.STATE_COMPLETE])
    read = 0
    for request in await backend.find(completed, _MOST_REQUESTS):
        async for entry in backend.entries(request.id, EntryFilter(without_output=True)):
            durations.add(entry)
            read += 1
            if read >= _MOST_ENTRIES:
                return durations
    return durations


def seconds_left(
    chain: job_chain_pb2.JobChain,
    jobs: Mapping[str, LiveJob],
    typical: TypicalDurations,
    now: float,
) -> float | None:
    """Simulate the rest of the chain and return the seconds until its last job ends.

    Each job takes its typical duration; parallel limits apply. None if no remaining job has a
    known duration.
    """
    durations: dict[str, float] = {}
    is_known = False
    for job in chain.jobs:
        live = jobs.get(job.id)
        if live is None or live.state is State.COMPLETE:
            durations[job.id] = 0.0
            continue
        usual = 0.0 if job.structural else typical.of(job.type, job.name)
        is_known = is_known or (usual is not None and not job.structural)
        spent = now - live.started if live.state is State.RUNNING and live.started else 0.0
        durations[job.id] = max((usual or 0.0) - spent, 0.0)
    return _simulate(chain, durations) if is_known else None


def _simulate(chain: job_chain_pb2.JobChain, durations: Mapping[str, float]) -> float:
    following = {edges.job_id: list(edges.next_job_ids) for edges in chain.adjacency_list}
    parents = dict.fromkeys(durations, 0)
    for successors in following.values():
        for successor in successors:
            parents[successor] += 1
    windows = [_ParallelLimit(limit.limit) for limit in chain.parallel_limits]
    opens: dict[str, _ParallelLimit] = {}
    closes: dict[str, _ParallelLimit] = {}
    for window, limit in zip(windows, chain.parallel_limits, strict=True):
        for element in limit.elements:
            opens[element.first_job_id] = window
            closes[element.last_job_id] = window
    moment = 0.0
    running: list[tuple[float, str]] = []

    def start(job_id: str) -> None:
        heapq.heappush(running, (moment + durations[job_id], job_id))

    def ready(job_id: str) -> None:
        if job_id not in opens or opens[job_id].enter(job_id):
            start(job_id)

    for job_id in [job_id for job_id, count in parents.items() if count == 0]:
        ready(job_id)
    while running:
        moment, job_id = heapq.heappop(running)
        if job_id in closes and (next_element := closes[job_id].leave()):
            start(next_element)
        for successor in following.get(job_id, ()):
            parents[successor] -= 1
            if parents[successor] == 0:
                ready(successor)
    return moment


class _ParallelLimit:
    """A parallel limit during the simulation."""

    def __init__(self, limit: int) -> None:
        self._free = max(limit, 1)
        self._waiting: deque[str] = deque()

    def enter(self, job_id: str) -> bool:
        if self._free:
            self._free -= 1
            return True
        self._waiting.append(job_id)
        return False

    def leave(self) -> str | None:
        if self._waiting:
            return self._waiting.popleft()
        self._free += 1
        return None
