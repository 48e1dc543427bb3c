"""A chain as linked nodes: jobs, the sequences around them, and the windows over elements."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from spincycle.chain.verdict import StopCause
from spincycle.model.state import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from spincycle.model.job_chain import ChainJob, JobChain, ParallelLimit, Value


class JobNode:
    """One job and all that its runner knows of it.

    Attributes:
        waiting: parents whose completion does not count yet.
        incomplete: parents that are not COMPLETE.
        settled: its completion counts for its successors.
        latest: tries in the current try of its sequence.
        total: tries over the life of the request.
        after: journal position that must be committed before its next try.
        position: place of its last entry in the journal; 0 if it has none that counts.
        wait: token of the wait before its next try.
        order: why it was told to stop.
        cause: the same for people, where its time was over.
    """

    __slots__ = (
        "after", "cause", "children", "closes", "element", "error", "ever_complete",
        "finished_at", "incomplete", "index", "job", "latest", "order", "output", "parents",
        "percent", "position", "retry_at", "sequence", "settled", "started_at", "state", "text",
        "total", "wait", "waiting",
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
        self.order = StopCause.NONE
        self.cause = ""
        self.output: dict[str, Value] | None = None
        self.started_at = 0
        self.finished_at = 0
        self.retry_at = 0
        self.error = ""
        self.text = ""
        self.percent: int | None = None

    @property
    def opens(self) -> bool:
        """True if it is the first job of a sequence."""
        return self.sequence is not None and self.sequence.first is self

    @property
    def key(self) -> str:
        """The try by what counts: the tries of each sequence around the job, then its own.

        A try that is interrupted or stopped is given back, so the next one has its key.
        """
        lineage = self.sequence.lineage if self.sequence is not None else ()
        tries = [sequence.tries for sequence in reversed(lineage)]
        return ".".join(map(str, [*tries, self.latest]))

    @property
    def could_go_on(self) -> bool:
        """True if it would run, were the chain not halted."""
        if self.state is State.STOPPED:
            return True
        if self.state is not State.PENDING or self.waiting:
            return False
        if self.sequence is not None and self.sequence.blocked:
            return False
        element = self.element
        return element is None or element.admitted or element.window.has_room


class SequenceNode:
    """One sequence: the jobs between its begin and its end, nested sequences included.

    Attributes:
        lineage: itself, the sequence around it, and so on to the outermost.
        tries: how often it was started.
        waited: the wait before its next try is over, or under way.
        failing: it has failed; no job of it starts until it is rolled back.
        overdue: why it fails as soon as its first job, which runs, has ended.
        remaining: jobs within it that are not COMPLETE.
        running: tries within it that have not ended.
        timer: token of its time limit.
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
    def may_retry(self) -> bool:
        """True if it can be started once more."""
        return self.tries <= self.first.job.sequence_retry

    @property
    def blocked(self) -> bool:
        """True if no job of it may start, because it or a sequence around it has failed."""
        return any(outer.failing or outer.first.state is State.FAIL for outer in self.lineage)

    def all_within(self) -> list[SequenceNode]:
        """The sequence itself and all nested ones, outer ones first."""
        found = [self]
        for sequence in found:
            found.extend(sequence.inner)
        return found

    def all_jobs(self) -> Iterator[JobNode]:
        """Jobs of this sequence and of all nested ones."""
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
        """Take a place in the window, or queue for one in list order."""
        window = self.window
        if window.has_room:
            self.take_place()
            return True
        heappush(window.queue, self.index)
        return False

    def take_place(self) -> None:
        """Count as in flight from now on."""
        self.admitted = True
        self.window.in_flight += 1

    def close(self) -> None:
        """Give the place up: the element is complete."""
        if self.admitted and not self.closed:
            self.closed = True
            self.window.in_flight -= 1

    def leave(self) -> None:
        """Be as if never entered."""
        if self.admitted and not self.closed:
            self.window.in_flight -= 1
        self.admitted = self.closed = False


class Window:
    """At most `limit` elements in flight, started in list order.

    An element gives its place up when its last job is complete; one that has failed for
    good keeps it, so that a rolling change does not run on over broken ground.
    """

    __slots__ = ("elements", "in_flight", "limit", "queue")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.elements: list[Element] = []
        self.in_flight = 0
        self.queue: list[int] = []

    @property
    def has_room(self) -> bool:
        """True if another element may start."""
        return self.in_flight < self.limit

    def next_waiting(self) -> Element | None:
        """The first element in list order that waits for a place, taken out of the queue."""
        while self.queue and self.has_room:
            element = self.elements[heappop(self.queue)]
            if not element.admitted and not element.first.waiting:
                return element
        return None


class ChainGraph:
    """The nodes of one chain. Building it costs O(jobs + edges); the chain must be valid."""

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
        self.sequences = self._sequences()
        self.windows = [self._window(limit) for limit in chain.parallel_limits]

    def _sequences(self) -> dict[str, SequenceNode]:
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

    def _window(self, limit: ParallelLimit) -> Window:
        window = Window(limit.limit)
        for index, (first_id, last_id) in enumerate(limit.elements):
            element = Element(window, index, self.jobs[first_id])
            window.elements.append(element)
            self.jobs[first_id].element = element
            self.jobs[last_id].closes = element
        return window


def first_failure(nodes: Iterable[JobNode]) -> str:
    """What the first job that has failed has failed of; empty if none has."""
    for node in nodes:
        if node.state is State.FAIL:
            return f"job {node.job.name} ({node.job.id}) failed: {node.error}"[:500]
    return ""


def retried_for(node: JobNode) -> SequenceNode | None:
    """The sequence that is started once more when a job fails for good; None if none can be.

    That is the innermost one that has tries left, save that a sequence whose first job has
    failed has failed as a whole, with all that is nested in it.
    """
    if node.sequence is None:
        return None
    lineage = node.sequence.lineage
    failed = [number for number, outer in enumerate(lineage) if outer.first.state is State.FAIL]
    return next((outer for outer in lineage[max(failed, default=0) :] if outer.may_retry), None)


def _index(node: JobNode) -> int:
    return node.index
