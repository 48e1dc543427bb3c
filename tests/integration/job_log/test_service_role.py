"""The job log needs no more privileges than docs/how-to/database-roles.sql grants."""

from __future__ import annotations

from tests.integration.job_log.conftest import REQUEST, entry, running_job_log
from tests.service_role import service_role
from tests.waiting import until

from spincycle.internal.v1 import journal_service_pb2 as journal_pb2
from spincycle.v1 import job_log_service_pb2 as pb


async def test_a_job_log_runs_with_the_privileges_of_the_service_role(database: str) -> None:
    async with (
        service_role(database) as dsn,
        running_job_log(dsn, migrates=False) as job_log,
    ):
        await until(job_log.healthy)
        following = job_log.tail(pb.TailRequest(request_id=REQUEST, follow=True))
        assert await job_log.stream().append(entry()) == []
        fence = journal_pb2.EpochFence(request_id=REQUEST, epoch=2)
        await job_log.journal.Fence(journal_pb2.FenceRequest(fences=[fence]))

        assert await job_log.entries() == [("j001", 1)]
        following.cancel()
