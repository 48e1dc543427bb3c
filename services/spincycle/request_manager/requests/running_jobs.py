"""Running jobs on all runners."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import structlog

from spincycle.errors import RunnerUnreachable
from spincycle.request_manager.runners.client import RunnerClient
from spincycle.request_manager.runners.directory import RunnerDirectory
from spincycle.request_manager.storage.model import Request
from spincycle.request_manager.storage.request_store import RequestStore
from spincycle.v1 import status_pb2

MAX_JOBS = 1000
"""Most jobs that are returned if the caller sets no limit."""


@dataclass(frozen=True, slots=True)
class Running:
    """Running jobs, in the order of the start of their tries, with their requests.

    Attributes:
        silent_runner_ids: runners that did not respond.
        any_request: whether any request is running.
    """

    jobs: list[status_pb2.JobStatus]
    requests: list[Request]
    silent_runner_ids: list[str]
    any_request: bool


class RunningJobs:
    """Collects the running jobs from the runners."""

    def __init__(self, store: RequestStore, runners: RunnerDirectory) -> None:
        self._store = store
        self._runners = runners

    async def find(self, request_id: str, limit: int) -> Running:
        """Return the running jobs of one request, or of all requests if `request_id` is empty.

        Raises:
            DatabaseUnavailable: the live runners or the requests cannot be read.
        """
        limit = limit or MAX_JOBS
        clients = list((await self._runners.live()).values())
        responses = await asyncio.gather(
            *(self._jobs_on(client, request_id, limit) for client in clients)
        )
        jobs = [job for response in responses if response is not None for job in response]
        jobs.sort(key=lambda job: (job.started_at.seconds, job.started_at.nanos))
        del jobs[limit:]
        requests = await self._store.get(list({job.request_id for job in jobs})) if jobs else {}
        return Running(
            jobs,
            list(requests.values()),
            [
                client.runner.runner_id
                for client, response in zip(clients, responses, strict=True)
                if response is None
            ],
            bool(jobs) or await self._store.any_running(),
        )

    async def _jobs_on(
        self, client: RunnerClient, request_id: str, limit: int
    ) -> list[status_pb2.JobStatus] | None:
        try:
            return await client.list_running(request_id, limit)
        except RunnerUnreachable as error:
            structlog.get_logger().warning("running jobs incomplete", why=error.message)
            return None
