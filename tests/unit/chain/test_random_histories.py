"""Random histories of chains of up to 60 jobs, with nested sequences and windows, are allowed."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.chain.exploration import World

from spincycle.chain.validation import check_new
from spincycle.model.job_chain import ChainJob, JobChain, ParallelLimit

LARGEST = 60


class Builder:
    """Builds a chain as the expansion does: each sequence between a begin and an end."""

    def __init__(self, random: Random, size: int) -> None:
        self._random = random
        self._left = min(size, LARGEST) - 2
        self.chain = JobChain(request_id="request")
        first, last = self._sequence("", 3)
        assert (first, last) == ("j0", "j1")

    def _sequence(self, parent: str, depth: int) -> tuple[str, str]:
        begin = self._add(structural=True)
        end = self._add(structural=True)
        first = self.chain.jobs[begin]
        first.sequence_id = self.chain.jobs[end].sequence_id = begin
        first.parent_sequence_id = parent
        first.sequence_retry = self._random.choice([0, 0, 1, 2])
        first.sequence_retry_wait = self._random.choice(["", "1s"])
        first.sequence_timeout = self._random.choice([None, None, 5.0])
        nodes: list[tuple[str, str]] = []
        for _ in range(self._random.randint(1, 5)):
            if self._left <= 0:
                break
            nodes.extend(self._node(begin, depth))
        self._link(begin, end, nodes)
        return begin, end

    def _node(self, sequence: str, depth: int) -> list[tuple[str, str]]:
        kind = self._random.choice(["job", "job", "sequence", "each"])
        if kind == "job" or depth == 0 or self._left < 4:
            return [self._job(sequence)]
        if kind == "sequence":
            self._left -= 2
            return [self._sequence(sequence, depth - 1)]
        elements = [self._job(sequence) for _ in range(self._random.randint(2, 4))]
        limit = self._random.randint(1, 2)
        self.chain.parallel_limits.append(ParallelLimit(limit, tuple(elements)))
        return elements

    def _job(self, sequence: str) -> tuple[str, str]:
        self._left -= 1
        job_id = self._add(structural=False)
        job = self.chain.jobs[job_id]
        job.sequence_id = sequence
        job.retry = self._random.choice([0, 0, 1, 2])
        job.retry_wait = self._random.choice(["", "1s"])
        job.fail_if_interrupted = self._random.random() < 0.2
        return job_id, job_id

    def _link(self, begin: str, end: str, nodes: list[tuple[str, str]]) -> None:
        limited = {first for window in self.chain.parallel_limits for first, _ in window.elements}
        sources, sinks = [], dict.fromkeys(last for _, last in nodes)
        for number, (first, _) in enumerate(nodes):
            before = (
                []
                if first in limited
                else [last for _, last in nodes[:number] if self._random.random() < 0.4]
            )
            for last in before:
                self.chain.next_jobs.setdefault(last, []).append(first)
                sinks.pop(last, None)
            if not before:
                sources.append(first)
        self.chain.next_jobs[begin] = sources or [end]
        for last in sinks:
            self.chain.next_jobs.setdefault(last, []).append(end)

    def _add(self, *, structural: bool) -> str:
        job_id = f"j{len(self.chain.jobs)}"
        kind = "noop" if structural else "test"
        self.chain.jobs[job_id] = ChainJob(job_id, job_id, kind, structural=structural)
        return job_id


def weight(event: str) -> int:
    return {"completes": 6, "commit": 6, "elapse": 4, "fails": 2, "stops": 4}.get(event, 1)


@given(size=st.integers(3, LARGEST), seed=st.integers(0, 2**32), disturbances=st.integers(0, 4))
@settings(max_examples=150)
def test_a_random_history_of_a_random_chain_is_allowed(
    size: int, seed: int, disturbances: int
) -> None:
    random = Random(seed)
    chain = Builder(random, size).chain
    check_new(chain)
    every = ["suspend", "crash", "suspend", "crash", "overdue", "stubborn", "stop"]
    world = World.of(chain, frozenset())

    while events := list(world.events()):
        if disturbances and random.random() < 0.05:
            disturbances -= 1
            world.once = frozenset({random.choice(every)})
            events = list(world.events())
        weights = [weight(name) for name, _ in events]
        world.apply(random.choices(events, weights)[0])

    assert world.model.report is not None
