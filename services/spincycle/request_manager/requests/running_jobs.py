"""Running jobs on all runners."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from spincycle.access.caller import Caller
from spincycle.errors import RunnerUnreachable
from spincycle.internal.v1.job_runner_service_pb2 import (
    ListRunningRequest,
    ListRunningResponse,
    RunningPlace,
)
from spincycle.request_manager.requests.access_control import AccessControl
from spincycle.request_manager.runners.client import RunnerClient
from spincycle.request_manager.runners.directory import RunnerDirectory
from spincycle.request_manager.storage.model import Request
from spincycle.request_manager.storage.request_store import RequestStore
from spincycle.rpc.page_token import decode_page_token, encode_page_token
from spincycle.v1 import status_pb2
from spincycle.v1.request_manager_service_pb2 import ListRunningJobsRequest
from spincycle.wire.times import get_nanoseconds, set_nanoseconds

MAX_JOBS = 1000
"""Most jobs in a page."""

_UNSTARTED = 2**62
"""Start of a job without a started try: it comes last."""


@dataclass(frozen=True, slots=True)
class Running:
    """One page of running jobs, in the order of the start of their tries, with their requests.

    Attributes:
        silent_runner_ids: runners that did not respond.
        any_request: whether any request is running.
        total_size: jobs on all pages.
    """

    jobs: list[status_pb2.JobStatus]
    requests: list[Request]
    silent_runner_ids: list[str]
    any_request: bool
    next_page_token: str
    total_size: int


class RunningJobs:
    """Collects the running jobs from the runners."""

    def __init__(
        self, store: RequestStore, runners: RunnerDirectory, access: AccessControl
    ) -> None:
        self._store = store
        self._runners = runners
        self._access = access

    async def find(self, request: ListRunningJobsRequest, caller: Caller) -> Running:
        """Return a page of the running jobs of one request, or of all that the caller may view.

        Raises:
            InvalidPageToken: the token belongs to another list.
            DatabaseUnavailable: the live runners or the requests cannot be read.
        """
        which = request.filter
        listed = ("running", which.request_id)
        after, given = None, 0
        if request.page_token:
            started_at, request_id, job_id, number = decode_page_token(
                listed, request.page_token, int, str, str, int
            )
            after, given = _position(int(started_at), str(request_id), str(job_id)), int(number)
        size = min(request.page_size or MAX_JOBS, MAX_JOBS)
        if which.limit:
            size = max(min(size, which.limit - given), 0)
        clients = list((await self._runners.live()).values())
        types = self._access.viewable_types(caller)
        viewable = None
        if types is not None:
            viewable = await self._store.find_running(types, which.request_id)
            clients = [client for client in clients if client.runner.runner_id in viewable]
        messages = [
            ListRunningRequest(
                filter=status_pb2.StatusFilter(request_id=which.request_id, limit=size + 1),
                after=after,
                request_ids=viewable[client.runner.runner_id] if viewable is not None else (),
            )
            for client in clients
        ]
        responses = await asyncio.gather(*map(self._jobs_on, clients, messages))
        jobs = [job for response in responses if response is not None for job in response.jobs]
        if viewable is not None:
            # A runner of an older version returns the jobs of all its requests.
            shown = {request_id for ids in viewable.values() for request_id in ids}
            jobs = [job for job in jobs if job.request_id in shown]
        jobs.sort(key=_order)
        token = ""
        if len(jobs) > size and (not which.limit or given + size < which.limit):
            token = encode_page_token(listed, (*_order(jobs[size - 1]), given + size))
        del jobs[size:]
        requests = await self._store.get(list({job.request_id for job in jobs})) if jobs else {}
        return Running(
            jobs,
            list(requests.values()),
            [
                client.runner.runner_id
                for client, response in zip(clients, responses, strict=True)
                if response is None
            ],
            bool(viewable)
            if viewable is not None
            else bool(jobs) or await self._store.any_running(),
            token,
            sum(response.total_size for response in responses if response is not None),
        )

    async def _jobs_on(
        self, client: RunnerClient, request: ListRunningRequest
    ) -> ListRunningResponse | None:
        try:
            return await client.list_running(request)
        except RunnerUnreachable as error:
            structlog.get_logger().warning("running jobs incomplete", why=error.message)
            return None


def _order(job: status_pb2.JobStatus) -> tuple[int, str, str]:
    started_at = get_nanoseconds(job.started_at) if job.HasField("started_at") else _UNSTARTED
    return started_at, job.request_id, job.job_id


def _position(started_at: int, request_id: str, job_id: str) -> RunningPlace:
    position = RunningPlace(request_id=request_id, job_id=job_id)
    if started_at != _UNSTARTED:
        set_nanoseconds(position.started_at, started_at)
    return position
