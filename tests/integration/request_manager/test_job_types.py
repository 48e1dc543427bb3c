"""A request is assigned only to runners that have the types of its remaining jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from tests.integration.request_manager.conftest import Manager, SteeredRunner, until

from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.request_manager.config import RequestManagerConfig
from spincycle.v1 import job_chain_pb2, job_log_pb2, state_pb2, suspended_job_chain_pb2
from spincycle.v1 import request_manager_service_pb2 as rpc

COMPLETE = state_pb2.STATE_COMPLETE
FAIL = state_pb2.STATE_FAIL
PENDING = state_pb2.STATE_PENDING
RUNNING = state_pb2.STATE_RUNNING
SUSPENDED = state_pb2.STATE_SUSPENDED

SPECS = """
sequences:
  nap-and-list:
    request: true
    args:
      required:
        - name: ms
    nodes:
      rest:
        category: job
        type: sleep
        args:
          - expected: duration
            given: ms
      list:
        category: job
        type: shell-command
        args:
          - expected: cmd
            given: ms
        deps: [rest]
"""

STORED = "SELECT job_types FROM request_manager.requests WHERE request_id = $1"


@pytest.fixture
def config(config: RequestManagerConfig) -> RequestManagerConfig:
    (config.specs_dir / "nap-and-list.yaml").write_text(SPECS)
    return config


async def register(manager: Manager, runner_id: str, *types: str, **more: Any) -> SteeredRunner:
    return await manager.register(SteeredRunner(runner_id), job_types=["noop", *types], **more)


async def waits(manager: Manager, request_id: str) -> str:
    return (await manager.stub.Explain(rpc.ExplainRequest(request_id=request_id))).message


async def chain_of(manager: Manager, request_id: str) -> job_chain_pb2.JobChain:
    return (await manager.stub.GetJobChain(rpc.GetJobChainRequest(request_id=request_id))).job_chain


async def first_done(manager: Manager, request_id: str) -> job_chain_pb2.JobChain:
    """Return the chain of a request whose job of type sleep is COMPLETE."""
    chain = await chain_of(manager, request_id)
    for job in chain.jobs[:2]:
        job.state = COMPLETE
    assert chain.jobs[1].type == "sleep"
    return chain


def journal_first_done(manager: Manager, chain: job_chain_pb2.JobChain) -> None:
    manager.job_log.entries[chain.request_id] = [
        job_log_pb2.JobLog(
            request_id=chain.request_id, job_id=job.id, position=place, epoch=1, state=COMPLETE
        )
        for place, job in enumerate(chain.jobs[:2], start=1)
    ]


async def test_new_requests_go_only_to_runners_that_have_their_types(manager: Manager) -> None:
    old = await register(manager, "old")
    new = await register(manager, "new", "sleep")

    created = {(await manager.create()).request.id for _ in range(20)}

    await until(lambda: created <= set(new.chains))
    assert old.chains == {}


async def test_a_request_whose_job_type_no_runner_has_waits_with_this_reason(
    manager: Manager,
) -> None:
    await register(manager, "one")
    request_id = (await manager.create()).request.id
    assert (
        await waits(manager, request_id) == "no live runner has job type sleep; 1 runner lacks it"
    )

    await register(manager, "two")
    both = (await manager.create(type="nap-and-list")).request.id

    assert (
        await waits(manager, request_id) == "no live runner has job type sleep; 2 runners lack it"
    )
    assert await waits(manager, both) == (
        "no live runner has job types shell-command, sleep; 2 runners lack them"
    )
    other = await register(manager, "other", "sleep")
    await until(lambda: request_id in other.chains)
    assert await waits(manager, both) == (
        "no live runner has job type shell-command; 3 runners lack it"
    )
    await register(manager, "lister", "shell-command")
    assert await waits(manager, both) == (
        "no live runner has all of the job types shell-command, sleep; 4 runners lack some of them"
    )


async def test_a_runner_that_registers_again_has_its_new_types(manager: Manager) -> None:
    runner = await register(manager, "runner")
    request_id = (await manager.create()).request.id
    again = coordination_pb2.RegisterRequest(
        runner_id="runner",
        address=f"127.0.0.1:{runner.port}",
        job_types=["sleep"],
    )

    await manager.coordination.Register(again)

    await until(lambda: request_id in runner.chains)


async def test_many_requests_whose_job_type_no_runner_has_do_not_hide_those_behind_them(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    first = (await manager.create()).request.id
    await connection.execute(
        "INSERT INTO request_manager.requests (request_id, type, state, created_at, total_jobs,"
        " spec_revision, plan_hash, priority, job_types)"
        " SELECT 'fonce' || n, 'nap', 1, now(), 3, '', '', 100, '{fonce}'"
        "   FROM generate_series(1, 500) AS n"
    )

    runner = await register(manager, "runner", "sleep")

    await until(lambda: first in runner.chains)


async def test_many_requests_whose_runners_are_full_do_not_hide_those_of_other_runners(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    last = (await manager.create()).request.id
    await connection.execute(
        "INSERT INTO request_manager.requests (request_id, type, state, created_at, total_jobs,"
        " spec_revision, plan_hash, priority, job_types)"
        " SELECT 'fonce' || n, 'nap', 1, now(), 3, '', '', 100, '{fonce}'"
        "   FROM generate_series(1, 500) AS n"
    )
    await connection.execute(
        "UPDATE request_manager.requests SET runner_id = 'full', epoch = 1,"
        " claimed_until = now() + interval '1 hour' WHERE request_id = 'fonce1'"
    )
    await register(manager, "full", "fonce", max_chains=1)

    runner = await register(manager, "runner", "sleep")

    await until(lambda: last in runner.chains)


async def test_a_request_of_a_limited_type_goes_only_to_a_runner_that_has_its_types(
    manager: Manager,
) -> None:
    old = await register(manager, "old")
    request_id = (await manager.create(type="one-nap")).request.id
    new = await register(manager, "new", "sleep")

    await until(lambda: request_id in new.chains)
    assert old.chains == {}


@pytest.mark.parametrize("in_parts", [False, True])
async def test_a_suspended_request_requires_only_the_types_of_its_remaining_jobs(
    manager: Manager, connection: asyncpg.Connection, in_parts: bool
) -> None:
    runner = await register(manager, "runner", "sleep", "shell-command")
    request_id = (await manager.create(type="nap-and-list")).request.id
    await manager.until_state(request_id, RUNNING)
    assert await connection.fetchval(STORED, request_id) == ["shell-command", "sleep"]
    saved = suspended_job_chain_pb2.SuspendedJobChain(
        request_id=request_id, epoch=1, job_chain=await first_done(manager, request_id)
    )
    await manager.coordination.Heartbeat(
        coordination_pb2.HeartbeatRequest(runner_id=runner.runner_id, draining=True)
    )
    lister = await register(manager, "lister", "shell-command")

    if in_parts:
        await manager.coordination.UploadSuspended(parts(saved))
    else:
        report = coordination_pb2.RunnerReport(suspended=saved)
        await manager.coordination.Report(coordination_pb2.ReportRequest(reports=[report]))

    await until(lambda: request_id in lister.resumed)
    assert await connection.fetchval(STORED, request_id) == ["shell-command"]


async def parts(
    saved: suspended_job_chain_pb2.SuspendedJobChain,
) -> AsyncIterator[coordination_pb2.UploadSuspendedRequest]:
    """Yield a saved state in parts with one job and its outgoing edges."""
    edges = {adjacent.job_id: adjacent for adjacent in saved.job_chain.adjacency_list}
    for job in saved.job_chain.jobs:
        part = suspended_job_chain_pb2.SuspendedJobChain(
            request_id=saved.request_id, epoch=saved.epoch
        )
        part.job_chain.jobs.append(job)
        if job.id in edges:
            part.job_chain.adjacency_list.append(edges[job.id])
        yield coordination_pb2.UploadSuspendedRequest(part=part)


async def test_a_recovered_request_requires_only_the_types_of_its_remaining_jobs(
    manager: Manager,
) -> None:
    await register(manager, "dying", "sleep", "shell-command")
    request_id = (await manager.create(type="nap-and-list")).request.id
    await manager.until_state(request_id, RUNNING)
    journal_first_done(manager, await chain_of(manager, request_id))

    await manager.coordination.Heartbeat(
        coordination_pb2.HeartbeatRequest(runner_id="dying", leaving=True)
    )
    lister = await register(manager, "lister", "shell-command")

    await until(lambda: request_id in lister.resumed)


async def test_a_rerun_requires_only_the_types_of_its_remaining_jobs(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    runner = await register(manager, "runner", "sleep", "shell-command")
    request_id = (await manager.create(type="nap-and-list")).request.id
    await until(lambda: request_id in runner.chains)
    await manager.finish(request_id, runner.chains[request_id], FAIL)
    chain = await chain_of(manager, request_id)
    journal_first_done(manager, chain)
    rerun = rpc.RerunRequest(request_id=request_id, allow_concurrent=True)

    rest = (await manager.stub.Rerun(rerun)).request.id
    rerun.job_ids.append(chain.jobs[1].id)
    everything = (await manager.stub.Rerun(rerun)).request.id
    skip = rpc.SkipRequest(
        request_id=request_id, job_ids=[chain.jobs[2].id], reason="listed", allow_concurrent=True
    )
    skipped = (await manager.stub.Skip(skip)).request.id

    assert await connection.fetchval(STORED, rest) == ["shell-command"]
    assert await connection.fetchval(STORED, everything) == ["shell-command", "sleep"]
    assert await connection.fetchval(STORED, skipped) == []


async def test_a_request_of_an_older_version_is_assigned_to_any_runner(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    request_id = (await manager.create()).request.id
    await connection.execute("UPDATE request_manager.requests SET job_types = '{}'")

    runner = await register(manager, "runner")

    await until(lambda: request_id in runner.chains)


async def test_a_saved_state_with_a_type_that_cannot_be_stored_is_refused(
    manager: Manager,
) -> None:
    await register(manager, "runner", "sleep")
    request_id = (await manager.create()).request.id
    await manager.until_state(request_id, RUNNING)
    report = coordination_pb2.RunnerReport()
    report.suspended.request_id = request_id
    report.suspended.epoch = 1
    report.suspended.job_chain.jobs.add(id="aaaa", type="a\0b")

    response = await manager.coordination.Report(coordination_pb2.ReportRequest(reports=[report]))

    assert response.results[0].refused.reason == "INVALID_INPUT"
