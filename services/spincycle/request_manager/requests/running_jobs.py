"""Which jobs are being run, on all runners."""

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
"""Most jobs that are answered when the caller sets no limit."""


@dataclass(frozen=True, slots=True)
class Running:
    """Jobs that are being run, by the start of their try, and their requests."""

    jobs: list[status_pb2.JobStatus]
    requests: list[Request]
    silent_runner_ids: list[str]
    any_request: bool


class RunningJobs:
    """Asks the runners."""

    def __init__(self, store: RequestStore, runners: RunnerDirectory) -> None:
        self._store = store
        self._runners = runners

    async def find(self, request_id: str, limit: int) -> Running:
        """Running jobs of one request, or of all if none is named.

        Raises:
            DatabaseUnavailable: it is not known which runners there are.
        """
        limit = limit or MAX_JOBS
        clients = list((await self._runners.live()).values())
        answers = await asyncio.gather(
            *(self._ask(client, request_id, limit) for client in clients)
        )
        jobs = [job for answer in answers if answer is not None for job in answer]
        jobs.sort(key=lambda job: (job.started_at.seconds, job.started_at.nanos))
        del jobs[limit:]
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
        )

    async def _ask(
        self, client: RunnerClient, request_id: str, limit: int
    ) -> list[status_pb2.JobStatus] | None:
        try:
            return await client.running(request_id, limit)
        except RunnerUnreachable as error:
            structlog.get_logger().warning("runner left out of the running jobs", why=error.message)
            return None
