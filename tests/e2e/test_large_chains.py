"""Chains that fit no message are run, suspended, resumed, taken over and read like any other."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from tests.chaos.cluster import Cluster, Shape
from tests.chaos.conftest import cluster, home
from tests.waiting import until

from spincycle.rpc.channel import open_channel
from spincycle.rpc.limits import MAX_MESSAGE_BYTES
from spincycle.rpc.status import from_rpc_error
from spincycle.v1 import job_chain_pb2, request_manager_service_pb2_grpc, request_pb2, state_pb2
from spincycle.v1 import request_manager_service_pb2 as rpc

__all__ = ["cluster", "home"]

JOBS = 66
BLOB = "x" * 1024 * 1024

SPECS = """
sequences:
  large:
    request: true
    args:
      required:
        - name: ms
        - name: items
        - name: blob
    nodes:
      hold:
        category: job
        type: sleep
        args: [{expected: duration, given: ms}]
      fill:
        category: job
        type: noop
        each: ["items:item"]
        args: [{expected: blob}]
        deps: [hold]
"""


@pytest.fixture
def specs(tmp_path: Path) -> Path:
    (tmp_path / "large.yaml").write_text(SPECS)
    return tmp_path


@pytest.fixture
def shape(specs: Path) -> Shape:
    settings = {
        "RM": {
            "SPECS_DIR": str(specs),
            "BEAT_INTERVAL": "0.5",
            "SILENCE_LIMIT": "5",
            # A busy machine takes its time to write some 60 MB.
            "DATABASE__STATEMENT_TIMEOUT": "60",
        },
    }
    return Shape(request_managers=1, job_logs=1, gateway=False, settings=settings)


class Caller:
    def __init__(self, address: str, channel: grpc.aio.Channel) -> None:
        self.address = address
        self.stub = request_manager_service_pb2_grpc.RequestManagerServiceStub(channel)

    async def create(self, ms: str) -> str:
        create_request = rpc.CreateRequest(type="large")
        create_request.args.update({"ms": ms, "items": [str(n) for n in range(JOBS)], "blob": BLOB})
        return (await self.stub.Create(create_request)).request.id

    async def get(self, request_id: str) -> request_pb2.Request:
        return (await self.stub.Get(rpc.GetRequest(request_id=request_id))).request

    async def until(self, request_id: str, state: state_pb2.State.ValueType) -> None:
        async def reached() -> bool:
            return (await self.get(request_id)).state == state

        await until(reached)

    async def chain(self, request_id: str) -> tuple[job_chain_pb2.JobChain, int]:
        """The chain, and the size of the largest part in which it came."""
        chain, largest = job_chain_pb2.JobChain(), 0
        async for answer in self.stub.StreamJobChain(
            rpc.StreamJobChainRequest(request_id=request_id)
        ):
            chain.MergeFrom(answer.part)
            largest = max(largest, answer.ByteSize())
        return chain, largest


@pytest.fixture
async def caller(cluster: Cluster) -> AsyncIterator[Caller]:
    async with open_channel(cluster.request_manager) as channel:
        yield Caller(cluster.request_manager, channel)


async def test_a_chain_beyond_the_message_limit_runs_to_its_end(caller: Caller) -> None:
    request_id = await caller.create("1")

    await caller.until(request_id, state_pb2.STATE_COMPLETE)

    chain, largest = await caller.chain(request_id)
    assert chain.ByteSize() > MAX_MESSAGE_BYTES
    assert largest < MAX_MESSAGE_BYTES / 8
    assert sum(job.args["blob"] == BLOB for job in chain.jobs if "blob" in job.args) == JOBS


async def test_it_is_suspended_resumed_and_taken_over_by_another_runner(
    caller: Caller, cluster: Cluster
) -> None:
    request_id = await caller.create("600000")
    await caller.until(request_id, state_pb2.STATE_RUNNING)

    await caller.stub.Suspend(rpc.SuspendRequest(request_id=request_id))
    await caller.until(request_id, state_pb2.STATE_SUSPENDED)
    await caller.stub.Resume(rpc.ResumeRequest(request_id=request_id))
    await caller.until(request_id, state_pb2.STATE_RUNNING)

    before = await caller.get(request_id)
    (holder,) = (
        runner for runner in cluster.job_runners if runner.service.address == before.runner_address
    )
    await holder.kill()

    async def taken_over() -> bool:
        now = await caller.get(request_id)
        return now.state == state_pb2.STATE_RUNNING and now.runner_id != before.runner_id

    await until(taken_over)
    await caller.stub.Stop(rpc.StopRequest(request_id=request_id))
    await caller.until(request_id, state_pb2.STATE_STOPPED)


async def test_where_it_does_not_fit_the_error_names_the_call_to_use(caller: Caller) -> None:
    request_id = await caller.create("1")
    for call in (
        caller.stub.Get(rpc.GetRequest(request_id=request_id, include_job_chain=True)),
        caller.stub.GetJobChain(rpc.GetJobChainRequest(request_id=request_id)),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call
        error = from_rpc_error(caught.value, "request manager", caller.address)
        assert error.reason == "CHAIN_TOO_LARGE"
        assert "StreamJobChain" in error.message
