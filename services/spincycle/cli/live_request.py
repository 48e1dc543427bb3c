"""The state of a watched request, built from the events of its Watch stream."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spincycle.cli.render.times import seconds
from spincycle.cli.values import plain, shown
from spincycle.model.job_path import SEPARATOR, node_of_begin
from spincycle.model.state import FINAL, State

if TYPE_CHECKING:
    from spincycle.v1 import job_chain_pb2, request_event_pb2, request_pb2, status_pb2

_PREFIXES = ("request_", "sequence_", "conditional_")


@dataclass(slots=True)
class LiveJob:
    """The current state of one job; times are Unix seconds.

    Attributes:
        name: name of the job; for the first job of a sequence, the name of its node.
        label: distinguishes the job from siblings of the same name; empty if unique.
        path: place in the plan, that of its node for the first job of a sequence; empty in a chain
            that was stored without paths.
        tries: number of the current or last try; 0 before the first one.
        allowed_tries: most tries of the job.
        retry_at: start of the next try while the job waits for it; otherwise None.
        percent: progress reported by the job; 0 if it reports none.
    """

    id: str
    name: str
    type: str = ""
    label: str = ""
    path: str = ""
    state: State = State.PENDING
    tries: int = 0
    allowed_tries: int = 1
    status: str = ""
    error: str = ""
    started: float | None = None
    finished: float | None = None
    retry_at: float | None = None
    percent: int = 0


@dataclass(slots=True)
class LiveSequence:
    """One sequence.

    Attributes:
        begin: the first job of the sequence, structural.
        children: its jobs and inner sequences, in the order of the spec.
    """

    begin: LiveJob
    children: list[LiveJob | LiveSequence] = field(default_factory=list)

    def jobs(self) -> Iterator[LiveJob]:
        """Yield the jobs of the sequence and its inner ones, without structural jobs."""
        for child in self.children:
            if isinstance(child, LiveSequence):
                yield from child.jobs()
            else:
                yield child

    @property
    def state(self) -> State:
        """Combined state of its jobs."""
        return combined_state([job.state for job in self.jobs()] or [self.begin.state])

    @property
    def span(self) -> tuple[float | None, float | None]:
        """Start of the first job and end of the last one; None if unknown."""
        jobs = [self.begin, *self.jobs()]
        starts = [job.started for job in jobs if job.started is not None]
        ends = [job.finished for job in jobs if job.finished is not None]
        return min(starts, default=None), max(ends, default=None)


def combined_state(states: Iterable[State]) -> State:
    """Return the state of a group of jobs; RUNNING, FAIL and STOPPED take precedence."""
    present = set(states)
    for state in (State.RUNNING, State.FAIL, State.STOPPED):
        if state in present:
            return state
    if present == {State.COMPLETE}:
        return State.COMPLETE
    return State.RUNNING if State.COMPLETE in present else State.PENDING


class LiveRequest:
    """Tracks one request; `apply` takes the events of the Watch stream in order."""

    def __init__(self, request_id: str) -> None:
        self.id = request_id
        self.type = ""
        self.state = State.PENDING
        self.reason = ""
        self.total_jobs = 0
        self.finished_jobs = 0
        self.started: float | None = None
        self.finished: float | None = None
        self.cursor = ""
        self.chain: job_chain_pb2.JobChain | None = None
        self.jobs: dict[str, LiveJob] = {}
        self.root = LiveSequence(LiveJob("", ""))

    @property
    def complete_jobs(self) -> int:
        """Number of COMPLETE jobs: as the request reports, or as counted here if higher."""
        known = sum(job.state is State.COMPLETE for job in self.jobs.values())
        return max(self.finished_jobs, known)

    @property
    def ended(self) -> bool:
        """Whether the request is in a final state."""
        return self.state in FINAL

    def apply(self, event: request_event_pb2.RequestEvent) -> list[LiveJob]:
        """Apply one event and return the jobs that changed."""
        self.cursor = event.cursor or self.cursor
        change = event.WhichOneof("change")
        if change == "snapshot":
            self._apply_request(event.snapshot.request)
            if event.snapshot.HasField("job_chain") and self.chain is None:
                self.set_chain(event.snapshot.job_chain)
            seen = {status.job_id for status in event.snapshot.jobs}
            for job in self.jobs.values():
                if job.id not in seen:
                    job.state = State.PENDING
            return [self._apply_job(status) for status in event.snapshot.jobs]
        if change == "request":
            self._apply_request(event.request)
        if change == "job":
            return [self._apply_job(event.job)]
        return []

    def _apply_request(self, request: request_pb2.Request) -> None:
        self.type = request.type or self.type
        self.state = State(request.state)
        self.reason = request.error.message or request.state_message
        self.total_jobs = request.total_jobs or self.total_jobs
        self.finished_jobs = request.finished_jobs
        self.started = seconds(request, "started_at") or self.started
        self.finished = seconds(request, "finished_at")

    def _apply_job(self, status: status_pb2.JobStatus) -> LiveJob:
        job = self.jobs.get(status.job_id)
        if job is None:
            # A job that is not in the tree is shown by its whole path.
            name = status.path or status.name
            job = LiveJob(status.job_id, name, status.type, path=status.path)
            self.jobs[status.job_id] = job
            self.root.children.append(job)
        job.state = State(status.state)
        job.tries = status.try_number
        job.status = status.status
        job.error = status.error
        job.percent = status.percent
        job.started = seconds(status, "started_at")
        job.finished = seconds(status, "finished_at")
        job.retry_at = seconds(status, "retry_at")
        return job

    def set_chain(self, chain: job_chain_pb2.JobChain) -> None:
        """Build the tree of sequences and jobs from the chain."""
        self.chain = chain
        self.total_jobs = self.total_jobs or len(chain.jobs)
        self.jobs = {}
        sequences: dict[str, LiveSequence] = {}
        for job in chain.jobs:
            live = LiveJob(job.id, job.name, job.type, path=job.path, allowed_tries=job.retry + 1)
            self.jobs[job.id] = live
            if job.id == job.sequence_id:
                live.name = node_name(job.name)
                live.path = node_of_begin(job.path)
                live.allowed_tries = job.sequence_retry + 1
                sequences[job.id] = LiveSequence(live)
        root = LiveSequence(LiveJob("", self.type))
        for job in chain.jobs:
            place = sequences.get(job.sequence_id, root)
            if job.id == job.sequence_id:
                around = sequences.get(job.parent_sequence_id)
                if around is None:
                    root = place
                else:
                    around.children.append(place)
            elif not job.structural:
                place.children.append(self.jobs[job.id])
        self.root = root
        if root.begin.path:
            # The path of the request itself stands in no other one.
            root.begin.path = ""
            _label_by_path(root)
        else:
            _label(root, {job.id: _args(job) for job in chain.jobs if not job.structural})


def node_name(name: str) -> str:
    """Return the name of a sequence's node: `swap` for the begin job sequence_swap_begin."""
    for prefix in _PREFIXES:
        if name.startswith(prefix) and name.endswith("_begin"):
            return name[len(prefix) : -len("_begin")]
    return name


def _args(job: job_chain_pb2.Job) -> dict[str, str]:
    return {name: shown(plain(value)) for name, value in job.args.fields.items()}


def _label_by_path(sequence: LiveSequence) -> None:
    """Label children by what their own part of the path has after their name, such as a host."""
    around = sequence.begin.path + SEPARATOR if sequence.begin.path else ""
    for child in sequence.children:
        job = child.begin if isinstance(child, LiveSequence) else child
        own = job.path.removeprefix(around)
        if own.startswith(job.name):
            job.label = own.removeprefix(job.name).strip()
        else:
            job.name = own
        if isinstance(child, LiveSequence):
            _label_by_path(child)


def _label(sequence: LiveSequence, args: dict[str, dict[str, str]]) -> None:
    """Label siblings of one name by the first argument in which they differ, or by number."""
    twins: dict[str, list[tuple[LiveJob, dict[str, str]]]] = {}
    for child in sequence.children:
        if isinstance(child, LiveSequence):
            _label(child, args)
            first = next(child.jobs(), None)
            head = child.begin
        else:
            first = head = child
        twins.setdefault(head.name, []).append((head, args.get(first.id, {}) if first else {}))
    for group in twins.values():
        if len(group) < 2:
            continue
        names = [
            name
            for name in group[0][1]
            if len({known.get(name, "") for _, known in group}) == len(group)
        ]
        for place, (job, known) in enumerate(group, 1):
            job.label = known[names[0]] if names and names[0] in known else f"#{place}"
