"""Clocks of timeouts: what a request and its sequences have used of their time."""

from __future__ import annotations

from bisect import bisect_right
from operator import attrgetter
from typing import TYPE_CHECKING

from spincycle.chain.chain_graph import SequenceNode
from spincycle.chain.try_outcome import seconds_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from spincycle.chain.chain_graph import ChainGraph, JobNode
    from spincycle.chain.scheduler_state import Limited, SchedulerState
    from spincycle.model.job_chain import SuspendedJobChain, SuspendedPeriod
    from spincycle.model.journal_entry import JournalEntry


class SuspendedTime:
    """Time for which callers had suspended a request; overlapping periods count once."""

    __slots__ = ("_ends", "_starts", "_totals")

    def __init__(self, periods: Iterable[SuspendedPeriod]) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._totals: list[int] = []
        total = last_end = 0
        for period in sorted(periods, key=attrgetter("suspended_at")):
            start = max(period.suspended_at, last_end)
            if start < period.resumed_at:
                self._starts.append(start)
                self._ends.append(period.resumed_at)
                self._totals.append(total)
                total += period.resumed_at - start
                last_end = period.resumed_at

    def between(self, start: int, end: int) -> int:
        """Return the suspended nanoseconds between two times."""
        return self._before(end) - self._before(start)

    def _before(self, time: int) -> int:
        index = bisect_right(self._starts, time) - 1
        if index < 0:
            return 0
        return self._totals[index] + min(time, self._ends[index]) - self._starts[index]


def start_clocks(
    scheduler: SchedulerState, periods: Iterable[SuspendedPeriod]
) -> Iterator[Limited]:
    """Start the timeouts of the request and of its open sequences with the time left to each.

    Yield each that has no time left, the outermost first; fail it before taking the next one. A
    request or a sequence without a known start begins now.
    """
    graph, now = scheduler.graph, scheduler.record.now
    limited = [
        (sequence, sequence.first.job.sequence_timeout)
        for sequence in graph.sequences.values()
        if sequence.first.job.sequence_timeout is not None
    ]
    if graph.chain.timeout is None and not limited:
        return
    suspended = SuspendedTime(periods)

    def left(timeout: float, started_at: int) -> float:
        # The clock of the database may have been set back since the start.
        used = max(0, now - started_at - suspended.between(started_at, now))
        return timeout - used / 1e9

    if graph.chain.timeout is not None:
        graph.request_started_at = graph.request_started_at or now
        seconds = left(graph.chain.timeout, graph.request_started_at)
        if seconds <= 0:
            yield "request"
            return
        scheduler.start_request_timeout(seconds)
    for sequence, timeout in sorted(limited, key=lambda pair: len(pair[0].lineage)):
        if not sequence.is_open:
            continue
        sequence.started_at = sequence.started_at or now
        seconds = left(timeout, sequence.started_at)
        if seconds <= 0:
            yield sequence
        else:
            scheduler.continue_timeout(sequence, seconds)


def overdue_reason(limited: Limited, graph: ChainGraph) -> str:
    """Return why a request or a sequence that has no time left fails."""
    if isinstance(limited, SequenceNode):
        limit = seconds_text(limited.first.job.sequence_timeout or 0)
        return f"sequence {limited.display_name} took longer than {limit}"
    return f"the request took longer than {seconds_text(graph.chain.timeout or 0)}"


def saved_starts(graph: ChainGraph) -> dict[str, int]:
    """Return the known starts of the request and of its open sequences, by their first jobs.

    An outermost sequence with a timeout of its own shares the start of the request.
    """
    starts = {
        sequence_id: sequence.started_at
        for sequence_id, sequence in graph.sequences.items()
        if sequence.started_at and sequence.is_open
    }
    if graph.request_started_at:
        starts[graph.source.job.id] = graph.request_started_at
    return starts


def load_starts(suspended: SuspendedJobChain, graph: ChainGraph) -> None:
    """Load the saved starts of the request and of its sequences into a new graph."""
    starts = suspended.sequence_started_at
    if starts and graph.chain.timeout is not None:
        graph.request_started_at = starts.get(graph.source.job.id, 0)
    for sequence_id, started_at in starts.items():
        sequence = graph.sequences.get(sequence_id)
        if sequence is not None and sequence.first.job.sequence_timeout is not None:
            sequence.started_at = started_at


def replay_start(
    graph: ChainGraph, node: JobNode, entry: JournalEntry, request_started_at: int
) -> None:
    """Take the starts of the request and of a sequence from the first entry of their first job.

    An entry of epoch 0 was copied with its times from the request that this one reruns: what it
    began counts from the start of this request.
    """
    started_at = entry.started_at if entry.epoch else request_started_at
    if graph.chain.timeout is not None and not node.parents:
        graph.request_started_at = graph.request_started_at or started_at
    sequence = node.sequence
    if sequence is not None and node.opens and node.job.sequence_timeout is not None:
        sequence.started_at = sequence.started_at or started_at
