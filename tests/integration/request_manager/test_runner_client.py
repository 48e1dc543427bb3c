"""Active calls to a runner that is evicted, so that its channel is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import grpc
import pytest

from spincycle.errors import RunnerUnreachable
from spincycle.internal.v1 import job_runner_service_pb2, job_runner_service_pb2_grpc
from spincycle.request_manager.runners.client import RunnerClient
from spincycle.request_manager.storage.heartbeats import HeartbeatId
from spincycle.request_manager.storage.model import Assignment, Runner
from spincycle.v1 import job_chain_pb2, suspended_job_chain_pb2

ASSIGNED = Assignment("r1", "frozen", 1, resumed=False)
CHAIN = job_chain_pb2.JobChain(request_id="r1").SerializeToString()
SAVED = suspended_job_chain_pb2.SuspendedJobChain(request_id="r1").SerializeToString()

Call = Callable[[RunnerClient], Coroutine[Any, Any, Any]]


class Frozen(job_runner_service_pb2_grpc.JobRunnerServiceServicer):
    """A runner that responds to no call."""

    def __init__(self) -> None:
        self.called = asyncio.Event()

    async def _freeze(self, request: object, context: object) -> Any:
        self.called.set()
        await asyncio.Event().wait()

    RunChains = ResumeChains = StopChains = SuspendChains = ListRunning = ExplainChain = _freeze


@pytest.fixture
async def frozen() -> AsyncIterator[tuple[Frozen, RunnerClient]]:
    servicer = Frozen()
    server = grpc.aio.server()
    job_runner_service_pb2_grpc.add_JobRunnerServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    runner = Runner(
        runner_id="frozen",
        address=f"127.0.0.1:{port}",
        max_chains=0,
        max_jobs=0,
        chains=0,
        jobs=0,
        draining=False,
        journal_lag=0.0,
        heartbeat=HeartbeatId("observer", 1),
        requests=0,
    )
    yield servicer, RunnerClient(runner, timeout=60.0)
    await server.stop(0)


CALLS: dict[str, Call] = {
    "stop": lambda client: client.stop(["r1"], "reason"),
    "suspend": lambda client: client.suspend(["r1"], "reason"),
    "list_running": lambda client: client.list_running(job_runner_service_pb2.ListRunningRequest()),
    "explain": lambda client: client.explain(
        job_runner_service_pb2.ExplainChainRequest(request_id="r1"), 60.0
    ),
}


@pytest.mark.parametrize("name", CALLS)
async def test_a_call_to_an_evicted_runner_fails_as_one_to_an_unreachable_runner(
    frozen: tuple[Frozen, RunnerClient], name: str
) -> None:
    runner, client = frozen
    call = asyncio.create_task(CALLS[name](client))
    await runner.called.wait()

    await client.close()

    with pytest.raises(RunnerUnreachable, match="the runner was deregistered"):
        await call
    with pytest.raises(RunnerUnreachable, match="the runner was deregistered"):
        await CALLS[name](client)


@pytest.mark.parametrize("name", ["run", "resume"])
async def test_chains_sent_to_an_evicted_runner_count_as_unanswered(
    frozen: tuple[Frozen, RunnerClient], name: str
) -> None:
    runner, client = frozen
    give = {"run": client.run, "resume": client.resume}[name]
    chains = {ASSIGNED: CHAIN if name == "run" else SAVED}
    call = asyncio.create_task(give(chains))
    await runner.called.wait()

    await client.close()

    assert (await call).unanswered == [ASSIGNED]
    assert list((await give(chains)).refused) == [ASSIGNED]


async def test_a_caller_that_is_cancelled_stays_cancelled(
    frozen: tuple[Frozen, RunnerClient],
) -> None:
    runner, client = frozen
    call = asyncio.create_task(
        client.explain(job_runner_service_pb2.ExplainChainRequest(request_id="r1"), 60.0)
    )
    await runner.called.wait()

    call.cancel()

    with pytest.raises(asyncio.CancelledError):
        await call
    await client.close()
