"""Metrics of a request manager."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import grpc
import httpx
import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families
from tests.integration.request_manager.conftest import (
    Manager,
    ShelvedJobLog,
    SteeredRunner,
    running_manager,
    until,
)

from spincycle.dev.ports import free_port
from spincycle.request_manager.config import RequestManagerConfig
from spincycle.runtime.config import MetricsConfig
from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1 import state_pb2


@dataclass
class Scraped:
    """A request manager and its metrics."""

    manager: Manager
    client: httpx.AsyncClient

    async def figure(self, name: str, *labels: str) -> float:
        """Return the current value of a metric; 0 if it is not exposed."""
        text = (await self.client.get("/metrics")).text
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if (sample.name, set(sample.labels.values())) == (name, set(labels)):
                    return sample.value
        return 0.0


@pytest.fixture
async def scraped(
    config: RequestManagerConfig, job_log: tuple[ShelvedJobLog, str]
) -> AsyncIterator[Scraped]:
    listen = f"127.0.0.1:{free_port()}"
    config = replace(config, metrics=MetricsConfig(listen=listen))
    async with (
        running_manager(config, job_log[0]) as manager,
        httpx.AsyncClient(base_url=f"http://{listen}") as client,
    ):
        yield Scraped(manager, client)


async def test_waiting_requests_are_counted_with_the_age_of_the_oldest(
    scraped: Scraped,
) -> None:
    assert await scraped.figure("spincycle_queue_wait_seconds") == 0
    await scraped.manager.create()
    await scraped.manager.create()

    assert await scraped.figure("spincycle_requests_waiting", "PENDING") == 2
    first = await scraped.figure("spincycle_queue_wait_seconds")
    assert first > 0
    assert await scraped.figure("spincycle_queue_wait_seconds") > first


async def test_created_and_ended_requests_are_counted(scraped: Scraped) -> None:
    runner = await scraped.manager.register(SteeredRunner("r1"))
    request_id = (await scraped.manager.create()).request.id
    await scraped.manager.until_state(request_id, state_pb2.STATE_RUNNING)
    await scraped.manager.finish(request_id, runner.chains[request_id])

    assert await scraped.figure("spincycle_requests_created_total") == 1
    assert await scraped.figure("spincycle_dispatched_requests_total", "accepted") == 1
    assert await scraped.figure("spincycle_requests_ended_total", "COMPLETE") == 1
    assert await scraped.figure("spincycle_requests_waiting", "PENDING") == 0
    assert await scraped.figure("spincycle_batch_items_total", "finish") == 1


async def test_a_request_that_is_stopped_while_it_waits_is_counted_as_stopped(
    scraped: Scraped,
) -> None:
    request_id = (await scraped.manager.create()).request.id
    await scraped.manager.stub.Stop(rpc.StopRequest(request_id=request_id))
    await scraped.manager.stub.Stop(rpc.StopRequest(request_id=request_id))

    assert await scraped.figure("spincycle_requests_ended_total", "STOPPED") == 1


async def test_a_request_that_no_runner_can_run_is_counted_as_failed(scraped: Scraped) -> None:
    runner = SteeredRunner("r1")
    runner.refuse_with = "INVALID_CHAIN"
    await scraped.manager.register(runner)
    request_id = (await scraped.manager.create()).request.id
    await scraped.manager.until_state(request_id, state_pb2.STATE_FAIL)

    assert await scraped.figure("spincycle_requests_ended_total", "FAIL") == 1
    assert await scraped.figure("spincycle_dispatched_requests_total", "refused") == 1


async def test_calls_are_counted_by_method_and_code(scraped: Scraped) -> None:
    service = "spincycle.v1.RequestManagerService"
    with pytest.raises(grpc.aio.AioRpcError):
        await scraped.manager.stub.Get(rpc.GetRequest(request_id="nothing"))
    request_id = (await scraped.manager.create()).request.id
    watching = scraped.manager.stub.Watch(rpc.WatchRequest(request_ids=[request_id]))
    await watching.read()
    watching.cancel()

    calls = "spincycle_grpc_calls_total"
    assert await scraped.figure("spincycle_bytes_in_flight", "public") == 0
    assert await scraped.figure(calls, f"{service}/Create", "OK") == 1
    assert await scraped.figure(calls, f"{service}/Get", "NOT_FOUND") == 1

    async def counted() -> bool:
        return await scraped.figure(calls, f"{service}/Watch", "CANCELLED") == 1

    await until(counted)
