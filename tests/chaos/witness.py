"""What was observed from outside, and what is wrong with it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import asyncpg
from tests.chaos.marks import START, STOPPED, Mark

from spincycle.model.state import State
from spincycle.rpc.channel import open_channel
from spincycle.v1 import job_chain_pb2
from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub

MAY_FAIL = frozenset({"once", "busy", "again"})

_JOURNAL = """
SELECT request_id, job_id, try, position, epoch, started_at, sequence_id, sequence_try, state,
       final, error,
       extract(epoch FROM pg_xact_commit_timestamp(xmin))::float8 AS committed_at
  FROM job_log.entries ORDER BY request_id, position
"""

_REQUESTS = """
SELECT request_id, type, state, epoch, reason,
       extract(epoch FROM finished_at)::float8 AS finished_at
  FROM request_manager.requests
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the journal, and when it was committed."""

    request_id: str
    job_id: str
    try_: int
    position: int
    epoch: int
    started_at: int
    sequence_id: str
    sequence_try: int
    state: State
    final: bool
    error: str
    committed_at: float


@dataclass(frozen=True, slots=True)
class Ended:
    """A request as it ended."""

    request_id: str
    type: str
    state: State
    epoch: int
    reason: str
    finished_at: float | None


@dataclass
class Testimony:
    """Everything observed of one run."""

    marks: list[Mark]
    entries: list[Entry]
    requests: dict[str, Ended]
    chains: dict[str, job_chain_pb2.JobChain] = field(default_factory=dict)


async def read_journal(connection: asyncpg.Connection) -> list[Entry]:
    """All entries with their commit times, in the order of each journal."""
    return [
        Entry(
            row["request_id"],
            row["job_id"],
            row["try"],
            row["position"],
            row["epoch"],
            row["started_at"],
            row["sequence_id"],
            row["sequence_try"],
            State(row["state"]),
            row["final"],
            row["error"],
            row["committed_at"],
        )
        for row in await connection.fetch(_JOURNAL)
    ]


async def collect(connection: asyncpg.Connection, address: str, marks: list[Mark]) -> Testimony:
    """Read the journal with its commit times, the requests, and the chains as they are shown."""
    entries = await read_journal(connection)
    requests = {
        row["request_id"]: Ended(
            row["request_id"],
            row["type"],
            State(row["state"]),
            row["epoch"],
            row["reason"],
            row["finished_at"],
        )
        for row in await connection.fetch(_REQUESTS)
    }
    testimony = Testimony(marks, entries, requests)
    async with open_channel(address) as channel:
        stub = RequestManagerServiceStub(channel)
        for request_id in requests:
            asked = rpc.GetJobChainRequest(request_id=request_id)
            testimony.chains[request_id] = (await stub.GetJobChain(asked, timeout=10)).job_chain
    return testimony


def contradictions(testimony: Testimony) -> Iterator[str]:
    """Every way in which a run broke a promise; nothing if it kept them all."""
    entries: dict[str, list[Entry]] = defaultdict(list)
    for entry in testimony.entries:
        entries[entry.request_id].append(entry)
    starts: dict[str, list[Mark]] = defaultdict(list)
    stops: Counter[tuple[str, str]] = Counter()
    for mark in testimony.marks:
        if mark.event == START:
            starts[mark.request_id].append(mark)
        if mark.event == STOPPED:
            stops[mark.request_id, mark.job_id] += 1
    for request_id, request in testimony.requests.items():
        chain = testimony.chains[request_id]
        its, began = entries[request_id], starts[request_id]
        yield from _ends(request, chain, its)
        yield from _advances(request_id, its)
        yield from repeats(request_id, its, began, its)
        yield from hurries(chain, its, began)
        yield from _doubles(chain, began, stops)


def _ends(request: Ended, chain: job_chain_pb2.JobChain, its: list[Entry]) -> Iterator[str]:
    where = f"{request.type} {request.request_id}"
    if request.state not in (State.COMPLETE, State.FAIL, State.STOPPED):
        yield f"{where} is still {request.state.name}"
        return
    complete = {entry.job_id for entry in its if entry.state is State.COMPLETE}
    missing = [job.name for job in chain.jobs if job.id not in complete]
    if request.state is State.COMPLETE and missing:
        yield f"{where} is COMPLETE, but the journal lacks the completion of {missing}"
    if request.state is State.FAIL and not any(
        entry.state is State.FAIL and entry.final for entry in its
    ):
        yield f"{where} failed, and no job did: {request.reason}"
    if request.state is State.STOPPED:
        yield f"{where} was stopped, and nobody asked for that: {request.reason}"


def _advances(request_id: str, its: list[Entry]) -> Iterator[str]:
    """Two runners advanced one request if the journal goes back to an earlier epoch."""
    highest = 0
    for entry in its:
        if entry.epoch < highest:
            yield f"{request_id}: position {entry.position} went back from epoch {highest}"
        highest = max(highest, entry.epoch)
    completions = Counter(
        (entry.job_id, entry.sequence_try) for entry in its if entry.state is State.COMPLETE
    )
    for (job_id, sequence_try), count in completions.items():
        if count > 1:
            yield f"{request_id}: {job_id} completed {count} times in sequence try {sequence_try}"


def repeats(
    request_id: str, its: list[Entry], began: list[Mark], known: list[Entry]
) -> Iterator[str]:
    """A job ran although its completion was on record, and no retry of its sequence began.

    `known` are the entries that its runner may have known, lost ones included.
    """
    for mark in began:
        done = [
            entry
            for entry in its
            if entry.job_id == mark.job_id
            and entry.state is State.COMPLETE
            and entry.committed_at < mark.at
        ]
        if not done:
            continue
        last = done[-1]
        retried = any(
            entry.sequence_id == last.sequence_id
            and entry.sequence_try == last.sequence_try
            and entry.state is State.FAIL
            and entry.final
            and entry.committed_at <= mark.at
            for entry in known
        )
        if not retried:
            yield (
                f"{request_id}: {mark.name} ({mark.job_id}) ran again in process {mark.pid} "
                f"{mark.at - last.committed_at:.3f} s after its completion was committed"
            )


def hurries(chain: job_chain_pb2.JobChain, its: list[Entry], began: list[Mark]) -> Iterator[str]:
    """A job started before the completion of a parent was committed."""
    parents = _working_parents(chain)
    committed: dict[str, float] = {}
    for entry in its:
        if entry.state is State.COMPLETE:
            committed.setdefault(entry.job_id, entry.committed_at)
    for mark in began:
        for parent in parents[mark.job_id]:
            if parent not in committed:
                yield f"{chain.request_id}: {mark.name} ran, {parent} before it never completed"
            elif committed[parent] > mark.at:
                early = committed[parent] - mark.at
                yield (
                    f"{chain.request_id}: {mark.name} ran {early:.4f} s before the completion "
                    f"of {parent} was committed"
                )


def _doubles(
    chain: job_chain_pb2.JobChain, began: list[Mark], stops: Counter[tuple[str, str]]
) -> Iterator[str]:
    """A job that must not be run again after an interruption was.

    A job that stopped on request was not interrupted: it is restarted with its request.
    """
    at_most_once = {
        job.id for job in chain.jobs if job.interruption == job_chain_pb2.INTERRUPTION_FAIL
    }
    counts = Counter(mark.job_id for mark in began if mark.job_id in at_most_once)
    for job_id, count in counts.items():
        if count - stops[chain.request_id, job_id] > 1:
            yield f"{chain.request_id}: {job_id} ran {count} times, and may run only once"


def _working_parents(chain: job_chain_pb2.JobChain) -> dict[str, set[str]]:
    """For each job those before it that do something, through those that only open and close."""
    before: dict[str, set[str]] = {job.id: set() for job in chain.jobs}
    for edge in chain.adjacency_list:
        for following in edge.next_job_ids:
            before[following].add(edge.job_id)
    idle = {job.id for job in chain.jobs if job.structural}
    found: dict[str, set[str]] = {}
    for job in chain.jobs:
        working: set[str] = set()
        for parent in before[job.id]:
            working |= found[parent] if parent in idle else {parent}
        found[job.id] = working
    return found


def recovery_times(
    testimony: Testimony, deaths: list[tuple[int, float]]
) -> list[tuple[float, str, float]]:
    """How long each request waited that a dead runner left with a running job.

    `deaths` are process ids of runners and when they died. Answers (seconds, request, time of
    death), the longest first. A request waits until one of its jobs starts in another process,
    or until it has ended.
    """
    times = []
    for pid, died_at in deaths:
        open_jobs: dict[tuple[str, str], bool] = {}
        for mark in testimony.marks:
            if mark.pid == pid and mark.at <= died_at:
                open_jobs[mark.request_id, mark.job_id] = mark.event == START
        for request_id in _running(open_jobs) & testimony.requests.keys():
            again = [
                mark.at
                for mark in testimony.marks
                if mark.request_id == request_id and mark.pid != pid and mark.at > died_at
            ]
            ended = testimony.requests[request_id].finished_at
            after = again[:1] + ([ended] if ended and ended > died_at else [])
            waited = min(after) - died_at if after else float("inf")
            times.append((waited, request_id, died_at))
    return sorted(times, reverse=True)


def _running(open_jobs: dict[tuple[str, str], bool]) -> set[str]:
    return {request_id for (request_id, _), running in open_jobs.items() if running}
