"""No call within the bounds delays others: pauses of the event loop are bounded.

A pause is the CPU time of the loop's thread between two iterations, so that the load of the machine
does not count.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial

import grpc
import pytest
from google.protobuf import struct_pb2
from tests.integration.request_manager.conftest import (
    Coordination,
    Manager,
    ShelvedJobLog,
    SteeredRunner,
    Stub,
    until,
)
from tests.measured_loop import Measured, longest_pause

from spincycle.request_manager.config import RequestManagerConfig
from spincycle.request_manager.process import serve
from spincycle.rpc.channel import open_channel
from spincycle.rpc.limits import MAX_VALUES
from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1 import spec_service_pb2, spec_service_pb2_grpc, state_pb2

pytestmark = pytest.mark.timed

MANY_JOBS = 50_000

SPECS = """
sequences:
  take:
    request: true
    args:
      required:
        - name: what
    nodes:
      one:
        category: job
        type: noop
        args:
          - expected: what
            given: what
  fan-out:
    request: true
    args:
      required:
        - name: hosts
    nodes:
      one:
        category: job
        type: noop
        each:
          - hosts:host
"""


@pytest.fixture
async def measured(
    config: RequestManagerConfig, job_log: tuple[ShelvedJobLog, str]
) -> AsyncIterator[tuple[Measured, Manager]]:
    (config.specs_dir / "nap.yaml").write_text(SPECS)
    async with (
        Measured(partial(serve, config)) as measured,
        open_channel(config.listen) as channel,
        open_channel(config.internal.listen) as internal,
    ):
        specs = spec_service_pb2_grpc.SpecServiceStub(channel)
        await specs.ListSpecs(spec_service_pb2.ListSpecsRequest(), wait_for_ready=True, timeout=30)
        manager = Manager(config, Stub(channel), specs, Coordination(internal), job_log[0])

        async def is_ready() -> bool:
            try:
                await manager.stub.List(rpc.ListRequest())
            except grpc.aio.AioRpcError:
                return False
            return True

        await until(is_ready)
        measured.pause()
        yield measured, manager
        for runner in manager.runners:
            await runner.server.stop(0)


def many_values() -> struct_pb2.Value:
    what = struct_pb2.Value()
    for _ in range(MAX_VALUES - 1):
        what.list_value.values.add().bool_value = True
    return what


def nested() -> struct_pb2.Value:
    what = struct_pb2.Value()
    for number in range(MAX_VALUES // 2 - 1):
        what.list_value.values.add().struct_value.fields["a"].number_value = number
    return what


def named() -> struct_pb2.Value:
    what = struct_pb2.Value()
    for number in range(MAX_VALUES - 1):
        what.struct_value.fields[str(number)].bool_value = True
    return what


def long_text() -> struct_pb2.Value:
    return struct_pb2.Value(string_value="ä" * (2 * 1024 * 1024 - 100))


@pytest.mark.parametrize(
    "what",
    [
        many_values,
        pytest.param(nested, marks=pytest.mark.slow),
        pytest.param(named, marks=pytest.mark.slow),
        long_text,
    ],
)
async def test_the_largest_arguments_delay_no_other_call(
    measured: tuple[Measured, Manager], what: Callable[[], struct_pb2.Value]
) -> None:
    rm, manager = measured
    args = struct_pb2.Struct(fields={"what": what()})
    pauses: dict[str, float] = {}

    await manager.stub.Plan(rpc.PlanRequest(type="take", args=args))
    pauses["plan"] = rm.pause()
    created = await manager.stub.Create(rpc.CreateRequest(type="take", args=args))
    pauses["create"] = rm.pause()
    request_id = created.request.id
    await manager.stub.Get(rpc.GetRequest(request_id=request_id, include_job_chain=True))
    pauses["get"] = rm.pause()
    await manager.stub.GetJobChain(rpc.GetJobChainRequest(request_id=request_id))
    pauses["chain"] = rm.pause()
    async for response in manager.stub.Watch(rpc.WatchRequest(request_ids=[request_id])):
        if response.events:
            break
    pauses["watch"] = rm.pause()
    async for response in manager.stub.Watch(rpc.WatchRequest()):
        if response.events:
            break
    pauses["watch all"] = rm.pause()
    await manager.stub.Stop(rpc.StopRequest(request_id=request_id))
    pauses["stop"] = rm.pause()
    await manager.stub.Rerun(rpc.RerunRequest(request_id=request_id))
    pauses["rerun"] = rm.pause()

    limit = longest_pause()
    assert {name: pause for name, pause in pauses.items() if pause > limit} == {}


@pytest.mark.timeout(300)
async def test_the_largest_chain_delays_no_other_call(measured: tuple[Measured, Manager]) -> None:
    rm, manager = measured
    args = struct_pb2.Struct()
    args.get_or_create_list("hosts").extend(["1ms"] * MANY_JOBS)
    pauses: dict[str, float] = {}

    await manager.stub.Plan(rpc.PlanRequest(type="fan-out", args=args))
    pauses["plan"] = rm.pause()
    created = await manager.stub.Create(rpc.CreateRequest(type="fan-out", args=args))
    pauses["create"] = rm.pause()
    request_id = created.request.id
    await manager.stub.Get(rpc.GetRequest(request_id=request_id, include_job_chain=True))
    pauses["get"] = rm.pause()
    await manager.stub.GetJobChain(rpc.GetJobChainRequest(request_id=request_id))
    pauses["chain"] = rm.pause()
    async for _ in manager.stub.StreamJobChain(rpc.StreamJobChainRequest(request_id=request_id)):
        pass
    pauses["fetch"] = rm.pause()
    watch = rpc.WatchRequest(request_ids=[request_id], include_job_chain=True)
    async for response in manager.stub.Watch(watch):
        if response.events:
            break
    pauses["watch"] = rm.pause()
    await manager.stub.Explain(rpc.ExplainRequest(request_id=request_id))
    pauses["explain"] = rm.pause()
    runner = await manager.register(SteeredRunner("r1"))
    await until(lambda: request_id in runner.chains)
    pauses["dispatch"] = rm.pause()
    await manager.finish(request_id, 1, state_pb2.STATE_FAIL)
    await manager.stub.Rerun(rpc.RerunRequest(request_id=request_id))
    pauses["rerun"] = rm.pause()

    limit = longest_pause()
    assert {name: pause for name, pause in pauses.items() if pause > limit} == {}
