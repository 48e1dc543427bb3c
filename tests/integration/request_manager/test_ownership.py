"""A job runner acts only for the runner ids that it registered, and on their requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import product
from typing import Any

import asyncpg
import grpc
import pytest
from msgspec.structs import replace
from tests.integration.request_manager.conftest import (
    Coordination,
    Manager,
    ShelvedJobLog,
    SteeredRunner,
    until,
)
from tests.integration.request_manager.identified import (
    GRANTS,
    OWNER,
    STRANGER,
    Identified,
    identified_manager,
    spiffe_id,
)
from tests.integration.request_manager.refusal import reason

from spincycle.identity.append_grants import AppendGrant
from spincycle.identity.service_identity import GATEWAY
from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.model.revision import LAST_EPOCH
from spincycle.request_manager.config import RequestManagerConfig
from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1 import request_report_pb2, state_pb2

RUNNING, SUSPENDED, COMPLETE = (
    state_pb2.STATE_RUNNING,
    state_pb2.STATE_SUSPENDED,
    state_pb2.STATE_COMPLETE,
)

KINDS = ["progress", "finish", "suspended"]
"""Kinds of reports."""

Heartbeat = coordination_pb2.HeartbeatRequest


@pytest.fixture
async def identified(
    config: RequestManagerConfig, job_log: tuple[ShelvedJobLog, str]
) -> AsyncIterator[Identified]:
    # The runners send no heartbeats, and are not to be evicted on a slow machine.
    patient = replace(config, silence_limit=600.0)
    async with identified_manager(patient, job_log[0]) as identified:
        yield identified


@pytest.fixture
async def connection(identified: Identified) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(identified.manager.config.database.dsn.reveal())
    yield connection
    await connection.close()


async def stored(connection: asyncpg.Connection) -> list[Any]:
    """Return everything that a caller could change, but the times of the runners' heartbeats."""
    tables = {
        "requests": "t",
        "suspended_job_chains": "t",
        "runners": "to_jsonb(t) - '{observer,heartbeat}'::text[]",
    }
    return [
        await connection.fetch(
            f"SELECT ({columns})::text FROM request_manager.{table} AS t ORDER BY 1"
        )
        for table, columns in tables.items()
    ]


async def report_of(
    manager: Manager, kind: str, request_id: str, epoch: int
) -> coordination_pb2.RunnerReport:
    report = coordination_pb2.RunnerReport()
    getattr(report, kind).request_id = request_id
    getattr(report, kind).epoch = epoch
    if kind == "progress":
        report.progress.finished_jobs = 1
    elif kind == "finish":
        report.finish.state = COMPLETE
        report.finish.finished_at.GetCurrentTime()
    else:
        chain = await manager.stub.GetJobChain(rpc.GetJobChainRequest(request_id=request_id))
        report.suspended.job_chain.CopyFrom(chain.job_chain)
    return report


async def refused(
    coordination: Coordination, runner_id: str, report: coordination_pb2.RunnerReport
) -> str:
    """Return the reason of the refusal of a report; empty if it was accepted."""
    request = coordination_pb2.ReportRequest(runner_id=runner_id, reports=[report])
    return (await coordination.Report(request)).results[0].refused.reason


# Registrations and heartbeats


async def test_a_runner_id_belongs_to_the_identity_that_registered_it(
    identified: Identified, connection: asyncpg.Connection
) -> None:
    await identified.manager.register(SteeredRunner("own"), identified.owner)
    before = await stored(connection)

    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await identified.stranger.Register(
            coordination_pb2.RegisterRequest(runner_id="own", address="127.0.0.1:1")
        )

    assert reason(failure) == "NOT_YOURS"
    assert await stored(connection) == before


async def test_an_identity_may_register_several_runners_and_each_of_them_again(
    identified: Identified, connection: asyncpg.Connection
) -> None:
    await identified.manager.register(SteeredRunner("one"), identified.owner)
    await identified.manager.register(SteeredRunner("two"), identified.owner)
    again = coordination_pb2.RegisterRequest(runner_id="one", address="127.0.0.1:1", max_chains=3)
    await identified.owner.Register(again)

    rows = await connection.fetch(
        "SELECT runner_id, max_chains, identity FROM request_manager.runners ORDER BY runner_id"
    )
    assert [tuple(row) for row in rows] == [
        ("one", 3, spiffe_id(OWNER)),
        ("two", 0, spiffe_id(OWNER)),
    ]


@pytest.mark.parametrize("leaving", [False, True])
async def test_a_heartbeat_for_the_runner_of_another_identity_is_refused(
    identified: Identified, connection: asyncpg.Connection, leaving: bool
) -> None:
    await identified.running()
    before = await stored(connection)

    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await identified.stranger.Heartbeat(
            Heartbeat(runner_id="own", draining=True, leaving=leaving)
        )

    assert reason(failure) == "NOT_YOURS"
    assert await stored(connection) == before


async def test_an_evicted_runner_must_register_again_even_if_its_identity_has_changed(
    identified: Identified,
) -> None:
    await identified.manager.register(SteeredRunner("own"), identified.owner)
    await identified.owner.Heartbeat(Heartbeat(runner_id="own", leaving=True))

    for runner_id in ("own", "unknown"):
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await identified.stranger.Heartbeat(Heartbeat(runner_id=runner_id))
        assert reason(failure) == "RUNNER_UNKNOWN"


async def test_a_caller_without_identity_cannot_register_or_report(
    identified: Identified, connection: asyncpg.Connection
) -> None:
    request_id, runner = await identified.running()
    report = await report_of(identified.manager, "finish", request_id, runner.chains[request_id])
    nobody = identified.manager.coordination
    before = await stored(connection)

    for call in (
        nobody.Register(coordination_pb2.RegisterRequest(runner_id="new", address="127.0.0.1:1")),
        nobody.Heartbeat(Heartbeat(runner_id="own", leaving=True)),
        nobody.Report(coordination_pb2.ReportRequest(runner_id="own", reports=[report])),
        nobody.Finish(report.finish),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await call
        assert reason(failure) == "NOT_IDENTIFIED"
    assert await stored(connection) == before


# Reports


@pytest.mark.parametrize("kind", KINDS)
async def test_reports_of_the_runner_of_a_request_are_accepted_and_repeated_ones_too(
    identified: Identified, kind: str
) -> None:
    request_id, runner = await identified.running()
    await identified.owner.Heartbeat(Heartbeat(runner_id="own", draining=True))
    epoch = runner.chains[request_id]
    report = await report_of(identified.manager, kind, request_id, epoch)

    assert await refused(identified.owner, "own", report) == ""
    assert await refused(identified.owner, "own", report) == ""

    ends = {"progress": RUNNING, "finish": COMPLETE, "suspended": SUSPENDED}
    assert await identified.manager.state(request_id) == ends[kind]


async def test_reports_on_a_request_of_another_runner_are_refused(
    identified: Identified, connection: asyncpg.Connection
) -> None:
    request_id, runner = await identified.running()
    await identified.manager.register(SteeredRunner("foreign"), identified.stranger)
    before = await stored(connection)

    for kind in KINDS:
        report = await report_of(identified.manager, kind, request_id, runner.chains[request_id])
        assert await refused(identified.stranger, "foreign", report) == "NOT_YOURS", kind
    assert await stored(connection) == before


async def test_reports_under_the_runner_id_of_another_identity_are_refused(
    identified: Identified, connection: asyncpg.Connection
) -> None:
    request_id, runner = await identified.running()
    before = await stored(connection)

    for kind, runner_id in product(KINDS, ("own", "unknown", "")):
        report = await report_of(identified.manager, kind, request_id, runner.chains[request_id])
        assert await refused(identified.stranger, runner_id, report) == "NOT_YOURS", kind
    assert await stored(connection) == before


async def test_a_request_manager_that_did_not_register_a_runner_reads_its_identity(
    identified: Identified, connection: asyncpg.Connection
) -> None:
    request_id, runner = await identified.running()
    insert = (
        "INSERT INTO request_manager.runners (runner_id, address, max_chains, max_jobs, job_types,"
        " version, identity) VALUES ('elsewhere', '127.0.0.1:1', 0, 0, '{}', '', $1)"
    )
    await connection.execute(insert, spiffe_id(OWNER))
    await connection.execute("UPDATE request_manager.requests SET runner_id = 'elsewhere'")
    report = await report_of(identified.manager, "finish", request_id, runner.chains[request_id])

    assert await refused(identified.stranger, "elsewhere", report) == "NOT_YOURS"
    assert await refused(identified.owner, "elsewhere", report) == ""


async def test_reports_under_another_epoch_are_stale(
    identified: Identified, connection: asyncpg.Connection
) -> None:
    request_id, _ = await identified.running()
    await identified.manager.register(SteeredRunner("foreign"), identified.stranger)
    await connection.execute("UPDATE request_manager.requests SET epoch = 5")
    callers = {"own": identified.owner, "foreign": identified.stranger}
    before = await stored(connection)

    for kind, (runner_id, caller), epoch in product(KINDS, callers.items(), (4, 6)):
        report = await report_of(identified.manager, kind, request_id, epoch)
        assert await refused(caller, runner_id, report) == "STALE_EPOCH", kind
    assert await stored(connection) == before


async def test_a_late_report_on_an_ended_request_is_refused_for_its_state(
    identified: Identified,
) -> None:
    request_id, runner = await identified.running()
    epoch = runner.chains[request_id]
    finish = await report_of(identified.manager, "finish", request_id, epoch)
    assert await refused(identified.owner, "own", finish) == ""

    finish.finish.state = state_pb2.STATE_FAIL

    assert await refused(identified.owner, "own", finish) == "INVALID_STATE"
    assert await identified.manager.state(request_id) == COMPLETE


async def test_a_lost_runner_cannot_report_under_the_epoch_of_the_recovery(
    identified: Identified,
    connection: asyncpg.Connection,
    job_log: tuple[ShelvedJobLog, str],
) -> None:
    request_id, runner = await identified.running()
    job_log[0].away = True  # The request stays orphaned.
    epoch = runner.chains[request_id] + 1
    await connection.execute(
        "UPDATE request_manager.requests SET epoch = $1, orphaned = true", epoch
    )

    for kind in KINDS:
        report = await report_of(identified.manager, kind, request_id, epoch)
        assert await refused(identified.owner, "own", report) == "NOT_YOURS", kind
    columns = "state, epoch, orphaned, finished_jobs"
    (row,) = await connection.fetch(f"SELECT {columns} FROM request_manager.requests")
    assert tuple(row) == (RUNNING, epoch, True, 0)


async def test_a_saved_state_in_parts_for_a_request_of_another_runner_is_refused(
    identified: Identified, connection: asyncpg.Connection
) -> None:
    request_id, runner = await identified.running()
    await identified.manager.register(SteeredRunner("foreign"), identified.stranger)
    report = await report_of(identified.manager, "suspended", request_id, runner.chains[request_id])
    before = await stored(connection)

    for runner_id in ("foreign", "own", ""):
        part = coordination_pb2.UploadSuspendedRequest(runner_id=runner_id, part=report.suspended)
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await identified.stranger.UploadSuspended(iter([part]))
        assert reason(failure) == "NOT_YOURS"
    assert await stored(connection) == before


async def test_a_saved_state_in_parts_of_the_runner_of_a_request_is_stored(
    identified: Identified,
) -> None:
    request_id, runner = await identified.running()
    await identified.owner.Heartbeat(Heartbeat(runner_id="own", draining=True))
    report = await report_of(identified.manager, "suspended", request_id, runner.chains[request_id])
    parts = [
        coordination_pb2.UploadSuspendedRequest(runner_id="own", part=report.suspended),
        coordination_pb2.UploadSuspendedRequest(),
    ]

    await identified.owner.UploadSuspended(iter(parts))

    assert await identified.manager.state(request_id) == SUSPENDED


async def test_a_forged_report_does_not_replace_the_report_of_the_runner_beside_it(
    identified: Identified,
) -> None:
    runner = await identified.manager.register(SteeredRunner("own"), identified.owner)
    ids = [(await identified.manager.create()).request.id for _ in range(40)]
    await until(lambda: all(id_ in runner.chains for id_ in ids))
    await identified.manager.register(SteeredRunner("foreign"), identified.stranger)
    reports = [
        await report_of(identified.manager, "finish", id_, runner.chains[id_]) for id_ in ids
    ]
    honest = coordination_pb2.ReportRequest(runner_id="own", reports=reports)
    for report in reports:
        report.finish.state = state_pb2.STATE_FAIL
    forged = coordination_pb2.ReportRequest(runner_id="foreign", reports=reports)

    of_owner, *of_stranger = await asyncio.gather(
        identified.owner.Report(honest), *(identified.stranger.Report(forged) for _ in range(5))
    )

    assert {result.refused.reason for result in of_owner.results} == {""}
    for response in of_stranger:
        # Of a request that has ended, no runner is known.
        assert {result.refused.reason for result in response.results} <= {
            "NOT_YOURS",
            "INVALID_STATE",
        }
    states = [await identified.manager.state(id_) for id_ in ids]
    assert states == [COMPLETE] * len(ids)


async def test_a_runner_cannot_call_finish(
    identified: Identified, connection: asyncpg.Connection
) -> None:
    request_id, runner = await identified.running()
    report = await report_of(identified.manager, "finish", request_id, runner.chains[request_id])
    before = await stored(connection)

    for caller in (identified.owner, identified.callers[GATEWAY]):
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await caller.Finish(report.finish)
        assert reason(failure) == "CALLER_NOT_ALLOWED"

    assert await stored(connection) == before


async def test_with_legacy_runner_calls_a_gateway_reports_for_any_runner_under_the_right_epoch(
    config: RequestManagerConfig, job_log: tuple[ShelvedJobLog, str]
) -> None:
    legacy = replace(config, legacy_runner_calls=True)
    async with identified_manager(legacy, job_log[0]) as identified:
        request_id, runner = await identified.running()
        gateway = identified.callers[GATEWAY]
        epoch = runner.chains[request_id]
        progress = await report_of(identified.manager, "progress", request_id, epoch)
        finish = request_report_pb2.FinishRequest(
            request_id=request_id, epoch=epoch + 1, state=COMPLETE
        )
        finish.finished_at.GetCurrentTime()

        assert await refused(gateway, "own", progress) == ""
        assert await refused(gateway, "", progress) == ""
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            await gateway.Finish(finish)
        assert reason(failure) == "STALE_EPOCH"

        finish.epoch = epoch
        await gateway.Finish(finish)
        assert await identified.manager.state(request_id) == COMPLETE


# Chains that runners hold


def held(request_id: str, epoch: int, grant: AppendGrant | None = None) -> Heartbeat:
    heartbeat = Heartbeat(runner_id="foreign")
    chain = heartbeat.held_chains.chains.add(request_id=request_id, epoch=epoch)
    if grant is not None:
        chain.append_grant.request_id, chain.append_grant.epoch = grant.request_id, grant.epoch
        chain.append_grant.key_id, chain.append_grant.code = grant.key_id, grant.code
    return heartbeat


async def test_a_runner_cannot_have_the_requests_of_another_runner_recovered_as_missing(
    identified: Identified, connection: asyncpg.Connection
) -> None:
    request_id, runner = await identified.running()
    await identified.manager.register(SteeredRunner("foreign"), identified.stranger)
    heartbeat = Heartbeat(runner_id="foreign")
    heartbeat.missing_chains.chains.add(request_id=request_id, epoch=runner.chains[request_id])
    before = await stored(connection)

    await identified.stranger.Heartbeat(heartbeat)

    assert await stored(connection) == before


@pytest.mark.parametrize("row", ["running", "unassigned"])
async def test_a_runner_cannot_take_requests_by_saying_that_it_holds_them(
    identified: Identified, connection: asyncpg.Connection, row: str
) -> None:
    request_id, runner = await identified.running()
    await identified.manager.register(SteeredRunner("foreign"), identified.stranger)
    if row == "unassigned":
        await connection.execute(
            "UPDATE request_manager.requests SET runner_id = NULL, state = 7, desired_state = 7"
        )
    requests, *_ = await stored(connection)

    for later in (0, 1, LAST_EPOCH - 1, 2**62):
        epoch = runner.chains[request_id] + later
        for grant in (
            None,
            GRANTS.grant(request_id, epoch + 1, spiffe_id(STRANGER)),
            GRANTS.grant(request_id, epoch, spiffe_id(OWNER)),
            GRANTS.grant("another", epoch, spiffe_id(STRANGER)),
        ):
            response = await identified.stranger.Heartbeat(held(request_id, epoch, grant))
            assert [chain.request_id for chain in response.abandoned_chains] == [request_id]
    now, *_ = await stored(connection)
    assert now == requests


async def test_a_runner_that_proves_its_assignment_has_the_request_recovered(
    identified: Identified, connection: asyncpg.Connection
) -> None:
    request_id, runner = await identified.running()
    await identified.manager.register(SteeredRunner("foreign"), identified.stranger)
    epoch = runner.chains[request_id] + 4
    grant = GRANTS.grant(request_id, epoch, spiffe_id(STRANGER))

    await identified.stranger.Heartbeat(held(request_id, epoch, grant))

    assert await connection.fetchval("SELECT epoch FROM request_manager.requests") > epoch


async def test_a_runner_that_holds_its_own_request_under_a_higher_epoch_needs_no_proof(
    identified: Identified, connection: asyncpg.Connection
) -> None:
    request_id, runner = await identified.running()
    epoch = runner.chains[request_id] + 4
    heartbeat = held(request_id, epoch)
    heartbeat.runner_id = "own"

    await identified.owner.Heartbeat(heartbeat)

    assert await connection.fetchval("SELECT epoch FROM request_manager.requests") > epoch
