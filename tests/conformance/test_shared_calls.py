from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
from tests.conformance import backends
from tests.conformance.backends import Backend

from spincycle.errors import RequestNotFound, SpinCycleError
from spincycle.gateway.deduplicated_calls import DeduplicatedCalls
from spincycle.gateway.service_clients import open_service_clients
from spincycle.v1 import request_manager_service_pb2 as rm
from spincycle.v1 import request_pb2

METHOD = "/spincycle.v1.RequestManagerService/Get"


@pytest.fixture
async def manager() -> AsyncIterator[Backend]:
    manager = backends.request_manager()
    await manager.start()
    yield manager
    await manager.stop()


@pytest.fixture
async def reads(manager: Backend) -> AsyncIterator[DeduplicatedCalls[rm.GetRequest]]:
    opened = open_service_clients(manager.address, "localhost:1", "localhost:1", 5)
    yield DeduplicatedCalls(opened.request_manager, METHOD)
    await opened.close()


def _answer(request_id: str) -> rm.GetResponse:
    return rm.GetResponse(request=request_pb2.Request(id=request_id))


async def _get(reads: DeduplicatedCalls[rm.GetRequest], request_id: str) -> str:
    raw = await reads.call(rm.GetRequest(request_id=request_id))
    return rm.GetResponse.FromString(raw).request.id


async def test_identical_concurrent_reads_share_one_call(
    manager: Backend, reads: DeduplicatedCalls[rm.GetRequest]
) -> None:
    manager.respond(Get=lambda message: _answer(message.request_id))

    found = await asyncio.gather(*(_get(reads, f"r{number % 2}") for number in range(10)))

    assert found == ["r0", "r1"] * 5
    assert sorted(message.request_id for message in manager.received["Get"]) == ["r0", "r1"]


async def test_a_read_does_not_share_a_call_in_flight(
    manager: Backend, reads: DeduplicatedCalls[rm.GetRequest]
) -> None:
    """Nor does he wait for it."""
    reading, may_answer = asyncio.Event(), asyncio.Event()

    async def slow(_: rm.GetRequest) -> rm.GetResponse:
        reading.set()
        await may_answer.wait()
        return _answer("as it was")

    manager.respond(Get=slow)
    before = asyncio.create_task(_get(reads, "r"))
    await reading.wait()
    manager.respond(Get=_answer("as it is"))

    assert await _get(reads, "r") == "as it is"
    may_answer.set()
    assert await before == "as it was"


async def test_a_failure_is_raised_to_all_callers_of_the_call_and_to_no_other(
    manager: Backend, reads: DeduplicatedCalls[rm.GetRequest]
) -> None:
    manager.respond(Get=RequestNotFound("r"))
    failures = await asyncio.gather(*(_get(reads, "r") for _ in range(3)), return_exceptions=True)
    assert [failure.reason for failure in failures if isinstance(failure, SpinCycleError)] == [
        RequestNotFound.reason
    ] * 3

    manager.respond(Get=_answer("r"))
    assert await _get(reads, "r") == "r"


async def test_a_cancelled_caller_does_not_affect_the_others(
    manager: Backend, reads: DeduplicatedCalls[rm.GetRequest]
) -> None:
    manager.respond(Get=_answer("r"))
    first, other = (asyncio.create_task(_get(reads, "r")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    with suppress(asyncio.CancelledError):
        await first

    assert await other == "r"
    assert len(manager.received["Get"]) == 1
