"""Requests, chains and entries that the tests of the command line show."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from spincycle.v1 import (
    job_chain_pb2,
    job_log_pb2,
    request_event_pb2,
    request_pb2,
    spec_pb2,
    state_pb2,
    status_pb2,
)

PENDING = state_pb2.STATE_PENDING
RUNNING = state_pb2.STATE_RUNNING
COMPLETE = state_pb2.STATE_COMPLETE
FAIL = state_pb2.STATE_FAIL
STOPPED = state_pb2.STATE_STOPPED

ID = "dc2c0938di121n1t4i90"
START = datetime(2026, 11, 23, 22, 34, 52, tzinfo=UTC).timestamp()


def at(seconds: float) -> Timestamp:
    """A time, in seconds after START."""
    stamp = Timestamp()
    stamp.FromNanoseconds(round((START + seconds) * 1e9))
    return stamp


def text_arg(
    name: str, value: str, kind: str = "required", **fields: Any
) -> request_pb2.RequestArg:
    arg = request_pb2.RequestArg(name=name, kind=kind, given=True, **fields)
    arg.value.string_value = value
    return arg


def spec_arg(
    name: str, desc: str, default: str | None = None, **fields: Any
) -> request_pb2.RequestArg:
    kind = "required" if default is None else "optional"
    arg = request_pb2.RequestArg(name=name, desc=desc, kind=kind, **fields)
    if default is not None:
        arg.default_value.string_value = default
    return arg


def greet_spec() -> spec_pb2.RequestSpec:
    return spec_pb2.RequestSpec(
        name="greet",
        args=[
            spec_arg("name", "Who to greet"),
            spec_arg("greeting", "Word to greet with", "hello"),
        ],
    )


def rolling_restart_spec() -> spec_pb2.RequestSpec:
    return spec_pb2.RequestSpec(
        name="rolling-restart",
        args=[
            spec_arg("hosts", "Hosts to restart", value_type="list"),
            spec_arg("parallel", "Hosts at a time", "1", value_type="int"),
        ],
    )


def request(**fields: Any) -> request_pb2.Request:
    """A running rolling restart; `fields` win over what it is otherwise."""
    plain: dict[str, Any] = {
        "id": ID,
        "type": "rolling-restart",
        "state": RUNNING,
        "user": "dana",
        "total_jobs": 18,
        "finished_jobs": 0,
        "created_at": at(0),
        "started_at": at(0),
    }
    return request_pb2.Request(**(plain | fields))


class ChainMaker:
    """Makes chains as the expansion does: wrappers and templates around the work.

    Without `paths`, as it did before jobs had paths.
    """

    def __init__(self, kind: str, *, paths: bool = True) -> None:
        self.chain = job_chain_pb2.JobChain(request_id=ID)
        self._next: dict[str, list[str]] = {}
        self._has_paths = paths
        self._paths = {"Rq00": ""}
        self.begin = self._add("Rq00", f"request_{kind}_begin", structural=True)
        self.begin.sequence_id = self.begin.id
        self.begin.path = "(begin)" if paths else ""

    def _add(self, job_id: str, name: str, **fields: Any) -> job_chain_pb2.Job:
        return self.chain.jobs.add(id=job_id, name=name, type="noop", state=PENDING, **fields)

    def sequence(
        self, job_id: str, node: str, around: str = "Rq00", retry: int = 0, element: str = ""
    ) -> str:
        self._paths[job_id] = self._path(around, f"{node} {element}".strip())
        self._add(
            job_id,
            f"sequence_{node}_begin",
            structural=True,
            sequence_id=job_id,
            parent_sequence_id=around,
            sequence_retry=retry,
            path=self._path(job_id, "(begin)"),
        )
        return job_id

    def job(
        self,
        job_id: str,
        name: str,
        sequence: str = "Rq00",
        retry: int = 0,
        *,
        element: str = "",
        **args: str,
    ) -> str:
        job = self._add(job_id, name, sequence_id=sequence, retry=retry)
        job.type = name
        job.path = self._path(sequence, f"{name} {element}".strip())
        job.args.update(args)
        return job_id

    def _path(self, sequence: str, part: str) -> str:
        around = self._paths.get(sequence, "")
        path = f"{around} / {part}" if around else part
        return path if self._has_paths else ""

    def edge(self, *job_ids: str) -> None:
        for first, second in pairwise(job_ids):
            self._next.setdefault(first, []).append(second)

    def made(self) -> job_chain_pb2.JobChain:
        for job_id, following in self._next.items():
            self.chain.adjacency_list.add(job_id=job_id, next_job_ids=following)
        return self.chain


def rolling_restart_chain(
    hosts: tuple[str, ...] = ("web1", "web2"), *, paths: bool = True
) -> job_chain_pb2.JobChain:
    """plan, then for each host drain, restart (up to three tries) and enable, then report."""
    maker = ChainMaker("rolling-restart", paths=paths)
    maker.job("Plan", "plan-order")
    maker.edge("Rq00", "Plan")
    for place, host in enumerate(hosts):
        sequence = maker.sequence(f"S{place:03}", "restart-host", retry=1, element=host)
        jobs = [
            maker.job(f"D{place:03}", "drain", sequence, host=host, mode="soft"),
            maker.job(f"R{place:03}", "restart", sequence, retry=2, host=host),
            maker.job(f"E{place:03}", "enable", sequence, host=host),
        ]
        maker.edge("Plan", sequence, *jobs, "Rept")
    maker.job("Rept", "report")
    return maker.made()


PATHS = {job.id: job.path for job in rolling_restart_chain().jobs}
"""Paths of the jobs of `rolling_restart_chain`, by id."""


def status(job_id: str, name: str, state: Any, try_: int = 1, **fields: Any) -> Any:
    plain: dict[str, Any] = {
        "request_id": ID,
        "job_id": job_id,
        "name": name,
        "type": name,
        "state": state,
        "try_number": try_,
        "path": PATHS.get(job_id, ""),
    }
    return status_pb2.JobStatus(**(plain | fields))


def snapshot(
    now: request_pb2.Request,
    jobs: list[status_pb2.JobStatus],
    chain: job_chain_pb2.JobChain | None = None,
) -> request_event_pb2.RequestEvent:
    content = request_event_pb2.RequestSnapshot(request=now, jobs=jobs, job_chain=chain)
    return request_event_pb2.RequestEvent(request_id=now.id, cursor="1", snapshot=content)


def entry(
    job_id: str, name: str, state: Any = COMPLETE, try_: int = 1, **fields: Any
) -> job_log_pb2.JobLog:
    plain: dict[str, Any] = {
        "request_id": ID,
        "job_id": job_id,
        "name": name,
        "type": name,
        "state": state,
        "try_number": try_,
        "path": PATHS.get(job_id, ""),
        "started_at": at(1),
        "finished_at": at(2),
    }
    return job_log_pb2.JobLog(**(plain | fields))
