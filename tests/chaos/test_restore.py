"""A backup of one of the two schemas, or of both, is restored while the other one is newer.

Faults made here, chosen before any of them was run: a runner is killed after the backup, so that
epochs and fences rise, and some seconds later under load one of these is restored:

1. `request_manager` alone: the journal and its fences are ahead of the rows.
2. `job_log` alone: the rows are ahead of the journal and its fences.
3. Both.

Added after these had been run: `request_manager` alone, while requests waited for a runner or were
suspended when it was backed up, and ended afterwards.

Each is restored both beneath services that run, in one transaction, and as
docs/how-to/operations.md says: all services are ended with SIGTERM; `pg_restore --clean`; if the
rows are older than the journal, the statement that has every request rebuilt from it; all services
are started.
"""

from __future__ import annotations

import asyncio
import signal

import pytest
from tests.chaos.backup import CopiedSchemas, DumpedSchemas
from tests.chaos.cluster import Cluster
from tests.chaos.load import Load
from tests.chaos.setback_storm import SetbackStorm
from tests.chaos.storm import Storm
from tests.waiting import until

from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1 import state_pb2

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(400)]

beneath_running_services_or_stopped_ones = pytest.mark.parametrize(
    "backup", [CopiedSchemas, DumpedSchemas], ids=["running", "stopped"]
)

Backup = type[CopiedSchemas] | type[DumpedSchemas]


async def restore(cluster: Cluster, load: Load, backup: Backup, *schemas: str) -> SetbackStorm:
    """Lose a runner between backup and restore, and wait until all has ended."""
    storm = SetbackStorm(cluster, load, backup(cluster, schemas))

    async def lose_a_runner() -> None:
        await storm.storm.kill(cluster.job_runners[0])
        await asyncio.sleep(6)

    await storm.happen(in_between=lose_a_runner)
    return storm


@beneath_running_services_or_stopped_ones
async def test_requests_end_and_no_journalled_job_runs_again_if_the_journal_is_ahead_of_the_rows(
    cluster: Cluster, load: Load, backup: Backup
) -> None:
    storm = await restore(cluster, load, backup, "request_manager")

    assert await storm.problems(entries=False) == []


@beneath_running_services_or_stopped_ones
async def test_requests_end_although_their_journals_are_behind_the_rows(
    cluster: Cluster, load: Load, backup: Backup
) -> None:
    storm = await restore(cluster, load, backup, "job_log")

    assert await storm.problems(requests=False) == []


@beneath_running_services_or_stopped_ones
async def test_all_that_a_restored_backup_has_goes_on_and_nothing_else_does(
    cluster: Cluster, load: Load, backup: Backup
) -> None:
    storm = await restore(cluster, load, backup, "request_manager", "job_log")

    assert await storm.problems() == []


@beneath_running_services_or_stopped_ones
async def test_what_waited_when_the_rows_were_backed_up_goes_on_from_its_journal(
    cluster: Cluster, load: Load, backup: Backup
) -> None:
    source, storm = backup(cluster, ["request_manager"]), Storm(cluster, load)
    held = await load.create("busy", 300)
    await until(lambda: len(cluster.marks()) > 3)
    await load.stub.Suspend(rpc.SuspendRequest(request_id=held))

    async def is_suspended() -> bool:
        response = await load.stub.Get(rpc.GetRequest(request_id=held))
        return response.request.state == state_pb2.STATE_SUSPENDED

    await until(is_suspended)
    for runner in cluster.job_runners:
        await runner.end(signal.SIGTERM)
    for type_ in ("busy", "again", "once"):
        await load.create(type_, 100)
    await source.fall_behind()
    for runner in cluster.job_runners:
        runner.start()
    await load.stub.Resume(rpc.ResumeRequest(request_id=held))
    assert await load.until_final(60) == []

    setback = await source.take_over()
    await load.stub.Resume(rpc.ResumeRequest(request_id=held))
    await storm.settled()

    verdict = await storm.verdict(setback)
    print(verdict.figures())
    assert verdict.wrong == []
