"""Refused calls of services, and evictions of runners, are in the audit log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress

import asyncpg
import grpc
import pytest
from msgspec.structs import replace
from tests.integration.request_manager.conftest import (
    ShelvedJobLog,
    SteeredRunner,
    until,
)
from tests.integration.request_manager.identified import (
    OWNER,
    STRANGER,
    Identified,
    identified_manager,
    spiffe_id,
)

from spincycle.identity.service_identity import JOB_LOG
from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.request_manager.config import RequestManagerConfig
from spincycle.v1 import request_report_pb2, state_pb2

SERVICE = "spincycle.internal.v1.RunnerCoordinationService"

AUDITED = (
    "SELECT user_name, request_id, reason, peer FROM request_manager.audit WHERE action = 'refused'"
    " ORDER BY audit_id"
)


@pytest.fixture
async def identified(
    config: RequestManagerConfig, job_log: tuple[ShelvedJobLog, str]
) -> AsyncIterator[Identified]:
    # The runners send no heartbeats, and are not to be evicted on a slow machine.
    patient = replace(config, silence_limit=600.0)
    async with identified_manager(patient, job_log[0]) as identified:
        yield identified


@pytest.fixture
async def connection(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database)
    yield connection
    await connection.close()


async def audited(connection: asyncpg.Connection, rows: int) -> list[tuple[str, str, str, str]]:
    """Return caller, request and text of the refusals once there are as many."""

    async def stored() -> bool:
        return len(await connection.fetch(AUDITED)) >= rows

    await until(stored)
    return [tuple(row) for row in await connection.fetch(AUDITED)]


def finish_of(request_id: str, epoch: int) -> coordination_pb2.RunnerReport:
    finish = request_report_pb2.FinishRequest(
        request_id=request_id, epoch=epoch, state=state_pb2.STATE_COMPLETE
    )
    finish.finished_at.GetCurrentTime()
    return coordination_pb2.RunnerReport(finish=finish)


async def test_calls_of_callers_that_are_not_identified_or_not_allowed_are_audited(
    identified: Identified, connection: asyncpg.Connection
) -> None:
    register = coordination_pb2.RegisterRequest(runner_id="r", address="127.0.0.1:1")
    with suppress(grpc.aio.AioRpcError):
        await identified.manager.coordination.Register(register)
    with suppress(grpc.aio.AioRpcError):
        await identified.callers[JOB_LOG].Register(register)

    nobody, job_log = await audited(connection, 2)

    assert nobody[:2] == ("", "")
    assert nobody[2].startswith(f"{SERVICE}/Register: NOT_IDENTIFIED: ")
    assert nobody[3].startswith("unix:")
    assert job_log[:2] == (spiffe_id("1", JOB_LOG), "")
    assert job_log[2].startswith(f"{SERVICE}/Register: CALLER_NOT_ALLOWED: ")


async def test_calls_for_another_runner_are_audited(
    identified: Identified, connection: asyncpg.Connection
) -> None:
    request_id, runner = await identified.running()
    await identified.manager.register(SteeredRunner("foreign"), identified.stranger)
    forged = finish_of(request_id, runner.chains[request_id])
    part = coordination_pb2.UploadSuspendedRequest(runner_id="own")
    with suppress(grpc.aio.AioRpcError):
        await identified.stranger.Heartbeat(coordination_pb2.HeartbeatRequest(runner_id="own"))
    await identified.stranger.Report(
        coordination_pb2.ReportRequest(runner_id="own", reports=[forged, forged])
    )
    await identified.stranger.Report(
        coordination_pb2.ReportRequest(runner_id="foreign", reports=[forged])
    )
    with suppress(grpc.aio.AioRpcError):
        await identified.stranger.UploadSuspended(iter([part]))

    rows = await audited(connection, 4)

    assert {row[0] for row in rows} == {spiffe_id(STRANGER)}
    assert [(row[1], row[2].split(": ")[:2]) for row in rows] == [
        ("", [f"{SERVICE}/Heartbeat", "NOT_YOURS"]),
        ("", [f"{SERVICE}/Report", "NOT_YOURS"]),
        (request_id, [f"{SERVICE}/Report", "NOT_YOURS"]),
        ("", [f"{SERVICE}/UploadSuspended", "NOT_YOURS"]),
    ]


async def test_repeated_refusals_are_stored_once_with_their_number_when_the_process_ends(
    config: RequestManagerConfig,
    job_log: tuple[ShelvedJobLog, str],
    connection: asyncpg.Connection,
) -> None:
    async with identified_manager(config, job_log[0]) as identified:
        for _ in range(10):
            with suppress(grpc.aio.AioRpcError):
                await identified.stranger.Finish(request_report_pb2.FinishRequest())
        await audited(connection, 1)

    first, repeated = await audited(connection, 2)
    assert "9 more within 60 s" in repeated[2]
    assert first[0] == repeated[0] == spiffe_id(STRANGER)


async def test_honest_calls_leave_no_refusals(
    config: RequestManagerConfig,
    job_log: tuple[ShelvedJobLog, str],
    connection: asyncpg.Connection,
) -> None:
    async with identified_manager(config, job_log[0]) as identified:
        request_id, runner = await identified.running()
        late = finish_of(request_id, runner.chains[request_id] - 1)
        report = finish_of(request_id, runner.chains[request_id])
        for one in (late, report, report):
            await identified.owner.Report(
                coordination_pb2.ReportRequest(runner_id="own", reports=[one])
            )
        await identified.owner.Heartbeat(
            coordination_pb2.HeartbeatRequest(runner_id="own", leaving=True)
        )

    assert await connection.fetch(AUDITED) == []


async def test_the_eviction_of_a_runner_is_audited(
    config: RequestManagerConfig,
    job_log: tuple[ShelvedJobLog, str],
    connection: asyncpg.Connection,
) -> None:
    quick = replace(config, silence_limit=0.5, beat_interval=0.1)
    async with identified_manager(quick, job_log[0]) as identified:
        runner = await identified.manager.register(SteeredRunner("own"), identified.owner)
        query = "SELECT reason FROM request_manager.audit WHERE action = 'evict'"

        async def evicted() -> bool:
            return len(await connection.fetch(query)) == 1

        await until(evicted)

    text = f"runner own at 127.0.0.1:{runner.port} {spiffe_id(OWNER)}"
    assert await connection.fetchval(query) == text
