"""Which jobs are being run, on all runners."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from spincycle.errors import RunnerUnreachable
from spincycle.internal.v1.job_runner_service_pb2 import (
    ListRunningRequest,
    ListRunningResponse,
    RunningPlace,
)
from spincycle.request_manager.runners.client import RunnerClient
from spincycle.request_manager.runners.directory import RunnerDirectory
from spincycle.request_manager.storage.model import Request
from spincycle.request_manager.storage.store import RequestStore
from spincycle.rpc.page_token import decode_page_token, encode_page_token
from spincycle.v1 import status_pb2
from spincycle.v1.request_manager_service_pb2 import ListRunningJobsRequest

MAX_JOBS = 1000
"""Most jobs in a page."""

_NANOS = 1_000_000_000
_NEVER = 2**62
"""Start of a job that has none: it comes last."""


@dataclass(frozen=True, slots=True)
class Running:
    """One page of running jobs, by the start of their try, and their requests.

    Attributes:
        total_size: jobs on all pages.
    """

    jobs: list[status_pb2.JobStatus]
    requests: list[Request]
    silent_runner_ids: list[str]
    any_request: bool
    next_page_token: str
    total_size: int


class RunningJobs:
    """Collects the running jobs of all runners."""

    def __init__(self, store: RequestStore, runners: RunnerDirectory) -> None:
        self._store = store
        self._runners = runners

    async def find(self, asked: ListRunningJobsRequest) -> Running:
        """Return a page of the running jobs of one request, or of all if none is named.

        Raises:
            InvalidPageToken: the token belongs to another list.
            DatabaseUnavailable: the runners cannot be read.
        """
        which = asked.filter
        listed = ("running", which.request_id)
        after, given = None, 0
        if asked.page_token:
            started_at, request_id, job_id, number = decode_page_token(
                listed, asked.page_token, int, str, str, int
            )
            after, given = _place(int(started_at), str(request_id), str(job_id)), int(number)
        size = min(asked.page_size or MAX_JOBS, MAX_JOBS)
        if which.limit:
            size = max(min(size, which.limit - given), 0)
        request = ListRunningRequest(
            filter=status_pb2.StatusFilter(request_id=which.request_id, limit=size + 1), after=after
        )
        clients = list((await self._runners.live()).values())
        answers = await asyncio.gather(*(self._ask(client, request) for client in clients))
        jobs = [job for answer in answers if answer is not None for job in answer.jobs]
        jobs.sort(key=_order)
        token = ""
        if len(jobs) > size and given + size != which.limit:
            token = encode_page_token(listed, (*_order(jobs[size - 1]), given + size))
        del jobs[size:]
        requests = await self._store.get(list({job.request_id for job in jobs})) if jobs else {}
        return Running(
            jobs,
            list(requests.values()),
            [
                client.runner.runner_id
                for client, answer in zip(clients, answers, strict=True)
                if answer is None
            ],
            bool(jobs) or await self._store.any_running(),
            token,
            sum(answer.total_size for answer in answers if answer is not None),
        )

    async def _ask(
        self, client: RunnerClient, request: ListRunningRequest
    ) -> ListRunningResponse | None:
        try:
            return await client.running(request)
        except RunnerUnreachable as error:
            structlog.get_logger().warning("runner left out of the running jobs", why=error.message)
            return None


def _order(job: status_pb2.JobStatus) -> tuple[int, str, str]:
    started_at = _NEVER
    if job.HasField("started_at"):
        started_at = job.started_at.seconds * _NANOS + job.started_at.nanos
    return started_at, job.request_id, job.job_id


def _place(started_at: int, request_id: str, job_id: str) -> RunningPlace:
    place = RunningPlace(request_id=request_id, job_id=job_id)
    if started_at != _NEVER:
        place.started_at.seconds, place.started_at.nanos = divmod(started_at, _NANOS)
    return place
