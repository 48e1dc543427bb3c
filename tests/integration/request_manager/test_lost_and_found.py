"""Requests whose dispatch or recovery was interrupted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from typing import Any

import asyncpg
import pytest
from msgspec.structs import replace
from tests.integration.request_manager.conftest import (
    Manager,
    ShelvedJobLog,
    SteeredRunner,
    running_manager,
    until,
)

from spincycle.chain.rebuild import rebuild
from spincycle.dev.ports import free_port
from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.request_manager import manager as manager_module
from spincycle.request_manager.config import RequestManagerConfig
from spincycle.request_manager.runners.dispatcher import DispatchPolicy
from spincycle.v1 import job_chain_pb2, job_log_pb2, state_pb2
from spincycle.v1 import request_manager_service_pb2 as rpc

RUNNING = state_pb2.STATE_RUNNING
COMPLETE = state_pb2.STATE_COMPLETE
FAIL = state_pb2.STATE_FAIL
SUSPENDED = state_pb2.STATE_SUSPENDED

GIVEN = """
UPDATE request_manager.requests
   SET runner_id = $2, epoch = 1, claimed_until = now() WHERE request_id = $1
"""
CLAIMED = """
UPDATE request_manager.requests
   SET runner_id = 'dead', epoch = 5, orphaned = true, claimed_until = now() + $2
 WHERE request_id = $1
"""
LOST_AGAIN_AND_AGAIN = """
UPDATE request_manager.requests
   SET runner_id = 'dead', epoch = 6, orphaned = true, claimed_until = now()
 WHERE request_id = $1
"""


@pytest.fixture
async def manager(
    config: RequestManagerConfig, job_log: tuple[ShelvedJobLog, str]
) -> AsyncIterator[Manager]:
    """A request manager that evicts no silent runner."""
    patient = replace(config, silence_limit=3600.0)
    async with running_manager(patient, job_log[0]) as running:
        yield running


async def first_job(session: asyncpg.Connection, request_id: str) -> str:
    """Return the id of the first job of a request's chain."""
    chain = await session.fetchval(
        "SELECT job_chain FROM request_manager.request_archives WHERE request_id = $1", request_id
    )
    return job_chain_pb2.JobChain.FromString(chain).jobs[0].id


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases that expire soon, so that unaccepted requests are sent again soon."""
    policy = partial(DispatchPolicy, lease=3.0, sweep_interval=0.2)
    monkeypatch.setattr(manager_module, "DispatchPolicy", policy)


@pytest.mark.usefixtures("short_lease")
async def test_an_assignment_that_a_dead_request_manager_never_sent_is_sent(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    request_id = (await manager.create()).request.id
    await connection.execute(GIVEN, request_id, "runner")

    runner = await manager.register(SteeredRunner("runner"))

    await until(lambda: request_id in runner.chains)
    assert runner.chains[request_id] == 1
    await manager.until_state(request_id, RUNNING)


@pytest.mark.usefixtures("short_lease")
async def test_an_assignment_that_another_request_manager_is_sending_is_left_to_it(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    held = (await manager.create()).request.id
    free = (await manager.create()).request.id
    await connection.execute(GIVEN, free, "runner")

    runner = await manager.register(SteeredRunner("runner"))

    async def free_is_sent() -> bool:
        # The other request manager extends its claim while it sends.
        await connection.execute(GIVEN, held, "runner")
        return free in runner.chains

    await until(free_is_sent)
    assert held not in runner.chains


@pytest.mark.usefixtures("short_lease")
async def test_a_request_that_may_have_run_before_its_runner_restarted_is_recovered(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    request_id = (await manager.create()).request.id
    await connection.execute(GIVEN, request_id, "runner")
    restarted = SteeredRunner("runner")
    restarted.refuse_with = "WRONG_RUNNER"
    await manager.register(restarted)
    other = await manager.register(SteeredRunner("other"))

    await until(lambda: request_id in other.resumed)

    assert manager.job_log.fence_calls[request_id] == [2, 3]
    assert other.chains[request_id] == 3


async def test_a_request_that_never_reached_a_runner_is_sent_to_the_next_one(
    manager: Manager,
) -> None:
    unused = f"127.0.0.1:{free_port()}"
    await manager.coordination.Register(
        coordination_pb2.RegisterRequest(runner_id="dead", address=unused)
    )
    request_id = (await manager.create()).request.id

    other = await manager.register(SteeredRunner("other"))

    await until(lambda: request_id in other.chains)
    assert request_id not in other.resumed
    assert request_id not in manager.job_log.fences


async def test_a_request_whose_claimant_died_rebuilding_it_is_rebuilt_by_another_one(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    request_id = (await manager.create()).request.id
    await connection.execute(CLAIMED, request_id, timedelta(seconds=0.1))

    runner = await manager.register(SteeredRunner("runner"))

    await until(lambda: request_id in runner.resumed)
    rebuilt, resumed = manager.job_log.fence_calls[request_id]
    assert rebuilt == 5, "no runner had the epoch, so it need not rise"
    assert resumed == runner.chains[request_id] == 6


async def test_a_request_that_lost_three_runners_without_progress_backs_off(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    request_id, other = [(await manager.create()).request.id for _ in range(2)]
    await connection.execute(LOST_AGAIN_AND_AGAIN, request_id)
    await manager.until_state(request_id, SUSPENDED)
    runner = await manager.register(SteeredRunner("runner"))
    await until(lambda: other in runner.chains)

    assert request_id not in runner.chains
    request = (await manager.stub.Get(rpc.GetRequest(request_id=request_id))).request
    waits = "runner dead was lost, as were 2 before it while no try ended; waits 10 s"
    assert request.state_message == waits
    explained = await manager.stub.Explain(rpc.ExplainRequest(request_id=request_id))
    assert explained.message == f"{waits}; then a job runner gets the request"

    await manager.stub.Resume(rpc.ResumeRequest(request_id=request_id))

    await until(lambda: request_id in runner.resumed)


async def test_a_request_that_made_progress_before_it_lost_its_runner_does_not_back_off(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    request_id = (await manager.create()).request.id
    await connection.execute(LOST_AGAIN_AND_AGAIN, request_id)
    job_id = await first_job(connection, request_id)
    manager.job_log.entries[request_id] = [
        job_log_pb2.JobLog(
            request_id=request_id, job_id=job_id, position=1, epoch=5, state=COMPLETE
        )
    ]
    runner = await manager.register(SteeredRunner("runner"))

    await until(lambda: request_id in runner.resumed)


async def test_requests_that_cannot_be_rebuilt_while_the_job_log_is_away_are_tried_again_soon(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    manager.job_log.away = True
    request_id = (await manager.create()).request.id
    await connection.execute(CLAIMED, request_id, timedelta(0))
    runner = await manager.register(SteeredRunner("runner"))
    await until_claimed(connection, request_id)

    manager.job_log.away = False

    await until(lambda: request_id in runner.resumed)


async def test_a_request_whose_journal_does_not_match_its_chain_fails_with_the_reason(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    request_id = (await manager.create()).request.id
    manager.job_log.entries[request_id] = [
        job_log_pb2.JobLog(request_id=request_id, job_id="odd", position=1, state=COMPLETE)
    ]
    await connection.execute(CLAIMED, request_id, timedelta(0))

    await manager.until_state(request_id, FAIL)

    request = (await manager.stub.Get(rpc.GetRequest(request_id=request_id))).request
    assert "entry of job odd, which is not in the chain" in request.state_message


async def test_a_request_whose_chain_is_not_in_the_archive_fails_with_the_reason(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    request_id = (await manager.create()).request.id
    await connection.execute(
        "DELETE FROM request_manager.request_archives WHERE request_id = $1", request_id
    )
    await connection.execute(CLAIMED, request_id, timedelta(0))

    await manager.until_state(request_id, FAIL)

    request = (await manager.stub.Get(rpc.GetRequest(request_id=request_id))).request
    assert request.state_message == "its chain is not in the archive"


async def test_a_request_that_breaks_the_rebuilding_does_not_delay_others(
    config: RequestManagerConfig,
    job_log: tuple[ShelvedJobLog, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broken: list[str] = []

    def breaking(chain: Any, entries: Any, epoch: int, started_at: int) -> Any:
        if chain.request_id in broken:
            raise ZeroDivisionError("as the test says")
        return rebuild(chain, entries, epoch, started_at)

    monkeypatch.setattr(manager_module, "rebuild", breaking)
    async with running_manager(config, job_log[0]) as manager:
        broken.append((await manager.create()).request.id)
        sound = (await manager.create()).request.id
        session = await asyncpg.connect(config.database.dsn.reveal())
        for request_id in (*broken, sound):
            await session.execute(CLAIMED, request_id, timedelta(0))
        await session.close()

        runner = await manager.register(SteeredRunner("runner"))

        await until(lambda: sound in runner.resumed)


async def test_a_runner_with_a_large_journal_lag_gets_no_requests(manager: Manager) -> None:
    await manager.register(SteeredRunner("behind"))
    beat = coordination_pb2.HeartbeatRequest(runner_id="behind")
    beat.oldest_unacknowledged.FromSeconds(60)
    await manager.coordination.Heartbeat(beat)
    other = await manager.register(SteeredRunner("other"))

    created = [(await manager.create()).request.id for _ in range(5)]

    for request_id in created:
        await manager.until_state(request_id, RUNNING)
    assert set(created) <= other.chains.keys()


async def until_claimed(session: asyncpg.Connection, request_id: str) -> None:
    async def claimed() -> bool:
        left = "SELECT claimed_until > now() FROM request_manager.requests WHERE request_id = $1"
        return bool(await session.fetchval(left, request_id))

    await until(claimed)
