"""A service that has reached its memory limit ends itself, and works again once restarted."""

from __future__ import annotations

import resource
from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio
from tests.waiting import until

from spincycle.dev.content import find_content
from spincycle.dev.services import FREE_PORTS
from spincycle.dev.stack import Stack, StackConfig
from spincycle.rpc.channel import open_channel
from spincycle.v1 import request_manager_service_pb2 as rm
from spincycle.v1 import state_pb2
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub

LEAST = 1024 * 1024
"""Bytes of address space: less than each service has already, so that it gets nothing more."""


@pytest.fixture
def shown() -> list[tuple[str, str]]:
    return []


@pytest_asyncio.fixture
async def stack(shown: list[tuple[str, str]]) -> AsyncIterator[Stack]:
    config = StackConfig(find_content(None, ()), ports=FREE_PORTS)
    async with Stack(config, lambda *line: shown.append(line)) as stack:
        yield stack


async def test_a_service_without_memory_ends_itself_and_works_after_its_restart(
    stack: Stack, shown: list[tuple[str, str]]
) -> None:
    names = ["request-manager", "job-log", "job-runner", "gateway"]
    before = {name: stack.pid(name) for name in names}
    for pid in before.values():
        resource.prlimit(pid, resource.RLIMIT_AS, (LEAST, LEAST))

    await until(lambda: all(stack.pid(name) != before[name] for name in names))

    # gRPC aborts where it finds no memory itself, so a process may also end by a signal.
    ends = {name: text.partition(";")[0] for name, text in shown if "; restarting" in text}
    assert set(ends) == set(names)
    assert "exited with code 0" not in ends.values()
    in_order = {name for name, end in ends.items() if end == "exited with code 3"}
    assert in_order
    assert in_order <= {name for name, text in shown if '"event": "out of memory"' in text}
    async with open_channel(stack.request_manager) as channel:
        manager = RequestManagerServiceStub(channel)

        async def is_ready() -> bool:
            try:
                await manager.List(rm.ListRequest())
            except grpc.aio.AioRpcError:
                return False
            return True

        await until(is_ready)
        created = rm.CreateRequest(type="test")
        created.args.update({"sleepTime": "10"})
        request_id = (await manager.Create(created)).request.id

        async def has_ended() -> bool:
            found = (await manager.Get(rm.GetRequest(request_id=request_id))).request
            return found.state == state_pb2.STATE_COMPLETE

        await until(has_ended)
