"""Graph of a chain: job nodes, the sequences around them, and windows over elements."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from spincycle.chain.try_outcome import StopCause
from spincycle.model.job_path import node_of_begin
from spincycle.model.state import State
from spincycle.text.shortening import shortened

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from spincycle.model.job_chain import ChainJob, JobChain, ParallelLimit, Value

_NAME_BYTES = 200
"""Maximum bytes of a job's name in the reason of a failure, which its error must fit into."""


class JobNode:
    """One job and its state on the runner. Times are nanoseconds since 1970, UTC.

    Attributes:
        waiting: number of parents that are not settled.
        incomplete: number of parents that are not COMPLETE.
        settled: whether its completion counts for its children.
        latest: tries in the current try of its sequence.
        total: tries over the life of the request.
        after: journal position that must be committed before its next try.
        position: journal position of its last valid entry; 0 if there is none.
        wait: token of the timer before its next try.
        retry_at: when that timer expires; 0 if there is none.
        stop_cause: why the running try is being stopped.
        stop_reason: readable reason, if a time limit was exceeded.
    """

    __slots__ = (
        "after", "children", "closes", "element", "error", "ever_complete", "finished_at",
        "incomplete", "index", "job", "latest", "output", "parents", "percent", "position",
        "retry_at", "sequence", "settled", "started_at", "state", "stop_cause", "stop_reason",
        "text", "total", "wait", "waiting",
    )  # fmt: skip

    def __init__(self, job: ChainJob, index: int) -> None:
        self.job = job
        self.index = index
        self.parents: Sequence[JobNode] = ()
        self.children: Sequence[JobNode] = ()
        self.sequence: SequenceNode | None = None
        self.element: Element | None = None
        self.closes: Element | None = None
        self.state = State.PENDING
        self.waiting = 0
        self.incomplete = 0
        self.settled = False
        self.ever_complete = False
        self.latest = 0
        self.total = 0
        self.after = 0
        self.position = 0
        self.wait: int | None = None
        self.stop_cause = StopCause.NONE
        self.stop_reason = ""
        self.output: dict[str, Value] | None = None
        self.started_at = 0
        self.finished_at = 0
        self.retry_at = 0
        self.error = ""
        self.text = ""
        self.percent: int | None = None

    @property
    def opens(self) -> bool:
        """Whether it is the first job of a sequence."""
        return self.sequence is not None and self.sequence.first is self

    @property
    def key(self) -> str:
        """Key of the try: the tries of each sequence around the job, outermost first, then its own.

        An interrupted or stopped try does not count, so the next try has the same key.
        """
        lineage = self.sequence.lineage if self.sequence is not None else ()
        tries = [sequence.tries for sequence in reversed(lineage)]
        return ".".join(map(str, [*tries, self.latest]))

    @property
    def can_run(self) -> bool:
        """Whether the job would run if the chain were not halted."""
        if self.state is State.STOPPED:
            return True
        if self.state is not State.PENDING or self.waiting:
            return False
        if self.sequence is not None and self.sequence.blocked:
            return False
        element = self.element
        return element is None or element.admitted or element.window.has_room


class SequenceNode:
    """One sequence: the jobs from its first to its last, and nested sequences.

    Attributes:
        lineage: the sequence itself, then the ones around it up to the outermost.
        tries: how often it was started.
        waited: whether the wait before its next try has started.
        failing: whether it has failed; its jobs do not start until it is rolled back.
        overdue: why it fails once its running first job has ended; empty otherwise.
        remaining: number of jobs within it that are not COMPLETE.
        running: number of running tries within it.
        timer: token of its timeout.
    """

    __slots__ = (
        "failing", "first", "inner", "lineage", "members", "overdue", "remaining",
        "running", "timer", "tries", "waited",
    )  # fmt: skip

    def __init__(self, first: JobNode) -> None:
        self.first = first
        self.members: list[JobNode] = []
        self.inner: list[SequenceNode] = []
        self.lineage: tuple[SequenceNode, ...] = (self,)
        self.tries = 0
        self.waited = False
        self.failing = False
        self.overdue = ""
        self.remaining = 0
        self.running = 0
        self.timer: int | None = None

    @property
    def display_name(self) -> str:
        """Path of its node; the name of its first job in a chain without paths."""
        return node_of_begin(self.first.job.display_name)

    @property
    def may_retry(self) -> bool:
        """Whether it has a try left."""
        return self.tries <= self.first.job.sequence_retry

    @property
    def blocked(self) -> bool:
        """Whether its jobs must not start because it or a sequence around it has failed."""
        return any(outer.failing or outer.first.state is State.FAIL for outer in self.lineage)

    def all_within(self) -> list[SequenceNode]:
        """Return the sequence itself and all nested ones, outer ones first."""
        found = [self]
        for sequence in found:
            found.extend(sequence.inner)
        return found

    def all_jobs(self) -> Iterator[JobNode]:
        """Yield the jobs of this sequence and of all nested ones."""
        for sequence in self.all_within():
            yield from sequence.members


class Element:
    """One element of an expanded node; see ParallelLimit."""

    __slots__ = ("admitted", "closed", "first", "index", "window")

    def __init__(self, window: Window, index: int, first: JobNode) -> None:
        self.window = window
        self.index = index
        self.first = first
        self.admitted = False
        self.closed = False

    def enter(self) -> bool:
        """Admit the element if the window has room, otherwise queue it in list order."""
        window = self.window
        if window.has_room:
            self.admit()
            return True
        heappush(window.queue, self.index)
        return False

    def admit(self) -> None:
        """Count the element as in flight."""
        self.admitted = True
        self.window.in_flight += 1

    def close(self) -> None:
        """Release the element's slot: it is complete."""
        if self.admitted and not self.closed:
            self.closed = True
            self.window.in_flight -= 1

    def reset(self) -> None:
        """Return to the state before `enter`."""
        if self.admitted and not self.closed:
            self.window.in_flight -= 1
        self.admitted = self.closed = False


class Window:
    """Limits the elements in flight to `limit`; starts them in list order.

    An element releases its slot when its last job is complete. A failed element keeps its slot,
    so that a rolling change stops after `limit` failures.
    """

    __slots__ = ("elements", "in_flight", "limit", "queue")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.elements: list[Element] = []
        self.in_flight = 0
        self.queue: list[int] = []

    @property
    def has_room(self) -> bool:
        """Whether another element may start."""
        return self.in_flight < self.limit

    def next_waiting(self) -> Element | None:
        """Remove and return the first queued element in list order; None if none may start."""
        while self.queue and self.has_room:
            element = self.elements[heappop(self.queue)]
            if not element.admitted and not element.first.waiting:
                return element
        return None


class ChainGraph:
    """Builds the nodes of a valid chain in O(jobs + edges)."""

    __slots__ = ("chain", "jobs", "sequences", "windows")

    def __init__(self, chain: JobChain) -> None:
        self.chain = chain
        self.jobs = {job.id: JobNode(job, index) for index, job in enumerate(chain.jobs.values())}
        parents: dict[str, list[JobNode]] = {}
        for node in self.jobs.values():
            following = [self.jobs[next_id] for next_id in chain.next_jobs.get(node.job.id, ())]
            node.children = tuple(sorted(following, key=_index))
            for child in following:
                parents.setdefault(child.job.id, []).append(node)
        for job_id, before in parents.items():
            self.jobs[job_id].parents = tuple(before)
            self.jobs[job_id].waiting = self.jobs[job_id].incomplete = len(before)
        self.sequences = self._link_sequences()
        self.windows = [self._build_window(limit) for limit in chain.parallel_limits]

    def _link_sequences(self) -> dict[str, SequenceNode]:
        sequences: dict[str, SequenceNode] = {}
        for node in self.jobs.values():
            sequence_id = node.job.sequence_id
            if not sequence_id:
                continue
            sequence = sequences.get(sequence_id)
            if sequence is None:
                sequence = sequences[sequence_id] = SequenceNode(self.jobs[sequence_id])
            sequence.members.append(node)
            node.sequence = sequence
        outermost: list[SequenceNode] = []
        for sequence in sequences.values():
            parent = sequences.get(sequence.first.job.parent_sequence_id)
            (outermost if parent is None else parent.inner).append(sequence)
        while outermost:
            sequence = outermost.pop()
            for inner in sequence.inner:
                inner.lineage = (inner, *sequence.lineage)
                outermost.append(inner)
        for sequence in sequences.values():
            for outer in sequence.lineage:
                outer.remaining += len(sequence.members)
        return sequences

    def _build_window(self, limit: ParallelLimit) -> Window:
        window = Window(limit.limit)
        for index, (first_id, last_id) in enumerate(limit.elements):
            element = Element(window, index, self.jobs[first_id])
            window.elements.append(element)
            self.jobs[first_id].element = element
            self.jobs[last_id].closes = element
        return window


def first_failure(nodes: Iterable[JobNode]) -> str:
    """Return the first failed job and its error; empty if none failed."""
    for node in nodes:
        if node.state is State.FAIL:
            name = shortened(node.job.display_name, _NAME_BYTES)
            return f"job {name} ({node.job.id}) failed: {node.error}"[:500]
    return ""


def sequence_to_retry(node: JobNode) -> SequenceNode | None:
    """Return the sequence to restart when a job has failed for good; None if there is none.

    It is the innermost sequence with tries left. A sequence whose first job has failed has
    failed as a whole, including its nested sequences, so those are not considered.
    """
    if node.sequence is None:
        return None
    lineage = node.sequence.lineage
    failed = [number for number, outer in enumerate(lineage) if outer.first.state is State.FAIL]
    return next((outer for outer in lineage[max(failed, default=0) :] if outer.may_retry), None)


def _index(node: JobNode) -> int:
    return node.index
