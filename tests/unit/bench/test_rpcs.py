from __future__ import annotations

import asyncio

import pytest
from tests.bench.rpcs import RpcCounter, counts_per_request, read_calls

from spincycle.metrics.exposition import Exposition
from spincycle.metrics.registry import Metrics

CREATE = "spincycle.v1.RequestManagerService/Create"
BEAT = "spincycle.v1.RequestManagerService/Beat"


async def page(calls: dict[tuple[str, str], int]) -> str:
    """The metrics of a service."""
    figures = Metrics()
    figures.calls(calls)
    return (await Exposition(figures).text()).decode()


async def test_calls_are_read_from_the_page_that_a_service_serves() -> None:
    calls = {(CREATE, "OK"): 20, (CREATE, "CANCELLED"): 1, (BEAT, "OK"): 3}

    assert read_calls(await page(calls)) == {CREATE: 21, BEAT: 3}


async def test_a_service_that_handled_no_call_counts_nothing() -> None:
    assert read_calls(await page({})) == {}


async def test_calls_are_counted_from_begin_to_end_over_all_services() -> None:
    calls = [{(CREATE, "OK"): 5}, {(BEAT, "OK"): 2}]

    async def serve(service: int) -> asyncio.Server:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + (await page(calls[service])).encode())
            writer.close()
            await writer.wait_closed()

        return await asyncio.start_server(answer, "127.0.0.1", 0)

    servers = [await serve(0), await serve(1)]
    try:
        counter = RpcCounter([f"127.0.0.1:{s.sockets[0].getsockname()[1]}" for s in servers])
        await counter.begin()
        calls[0][CREATE, "OK"] += 20

        assert await counter.end() == {CREATE: 20}
    finally:
        for server in servers:
            server.close()
            await server.wait_closed()


@pytest.mark.parametrize("method", [CREATE, "spincycle.internal.v1.JournalService/Append"])
def test_calls_that_a_request_causes_count(method: str) -> None:
    assert counts_per_request(method)


@pytest.mark.parametrize(
    "method",
    [BEAT, "spincycle.internal.v1.Runners/Heartbeat", "spincycle.v1.RequestManagerService/List"],
)
def test_calls_per_time_and_polls_of_the_harness_do_not_count(method: str) -> None:
    assert not counts_per_request(method)
