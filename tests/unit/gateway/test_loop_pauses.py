"""The largest responses block no other call of the gateway.

A pause is CPU time of the loop's thread between two turns, so that a busy machine counts for
nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import pytest
from tests.measured_loop import MeasuredLoop, collecting_as_in_a_process, longest_pause
from tests.unit.gateway.asgi_call import application, call

from spincycle.gateway.routes.full import FullRoutes
from spincycle.gateway.routes.journal import JournalRoutes
from spincycle.gateway.routes.requests import RequestRoutes
from spincycle.gateway.service_clients import ServiceClient
from spincycle.v1 import job_log_service_pb2 as jl
from spincycle.v1 import request_manager_service_pb2 as rm

pytestmark = pytest.mark.timed

JOBS = 50_000


@pytest.fixture(autouse=True)
def garbage_as_in_the_process() -> Iterator[None]:
    with collecting_as_in_a_process():
        yield


def _chain() -> rm.GetResponse:
    response = rm.GetResponse()
    response.request.id = "x"
    chain = response.request.job_chain
    for number in range(JOBS):
        job = chain.jobs.add(id=f"j{number}", name="one", type="noop")
        job.args["host"] = "h"
    return response


def _page() -> jl.ListEntriesResponse:
    response = jl.ListEntriesResponse()
    response.entries.add(request_id="x", job_id="j").data.get_or_create_list("flags").extend(
        [True] * 700_000
    )
    return response


class _Services:
    """Services whose responses have the largest size."""

    def __init__(self, chain: rm.GetResponse, page: jl.ListEntriesResponse) -> None:
        self._answers = {
            "Get": chain,
            "GetJobChain": rm.GetJobChainResponse(job_chain=chain.request.job_chain),
            "ListEntries": page,
        }

    def __getattr__(self, name: str) -> Any:
        async def call(_request: Any, timeout: float) -> Any:  # as gRPC has it
            return self._answers[name]

        return call

    def unary_unary(self, method: str) -> Any:
        serialized = self._answers.get(method.rpartition("/")[2], jl.ListEntriesResponse())
        response = serialized.SerializeToString()

        async def call(_request: Any, timeout: float) -> bytes:  # as gRPC has it
            return response

        return call


@pytest.mark.parametrize(
    "path",
    ["/api/v1/requests/x", "/api/v1/requests/x/job-chain", "/api/v1/full/requests/x/log"],
)
def test_the_largest_responses_do_not_block_the_loop(path: str) -> None:
    services = cast("Any", _Services(_chain(), _page()))
    backend: ServiceClient[Any] = ServiceClient("service", "nowhere:1", services, services, 1.0)
    api = application(
        [
            *RequestRoutes(backend, backend, 10).routes(),
            *JournalRoutes(backend).routes(),
            *FullRoutes(backend, backend, backend, 10).routes(),
        ]
    )
    loop = MeasuredLoop()

    async def measure() -> tuple[int, int]:
        await asyncio.sleep(0)
        loop.longest = 0.0
        status, _, body = await call(api, "GET", path.encode())
        await asyncio.sleep(0)
        return status, len(body)

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        status, size = runner.run(measure())

    assert status == 200
    assert size > 2 * 1024 * 1024
    assert loop.longest <= longest_pause()
