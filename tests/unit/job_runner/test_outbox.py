"""Reports that a request manager refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import grpc
import pytest

from spincycle.errors import NotYours
from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.internal.v1 import runner_coordination_service_pb2_grpc
from spincycle.job_runner.outbox import Outbox
from spincycle.rpc.limits import MAX_MESSAGE_BYTES
from spincycle.rpc.status import abort, to_message
from spincycle.v1 import job_chain_pb2
from spincycle.wire.chain_parts import WHOLE_UP_TO

REFUSED = NotYours("runner", "request r1", "it is not assigned to that runner", "r1")


class Refusing(runner_coordination_service_pb2_grpc.RunnerCoordinationServiceServicer):
    """Refuses every report, as those of another runner."""

    calls = 0

    async def Report(self, request: Any, context: Any) -> coordination_pb2.ReportResponse:
        self.calls += 1
        response = coordination_pb2.ReportResponse()
        for _ in request.reports:
            response.results.add(refused=to_message(REFUSED))
        return response

    async def UploadSuspended(self, request_iterator: Any, context: Any) -> Any:
        self.calls += 1
        async for _ in request_iterator:
            # A caller that is still sending may not receive the reason.
            pass
        await abort(context, REFUSED)


@pytest.fixture
async def refusing() -> AsyncIterator[tuple[Refusing, str]]:
    servicer = Refusing()
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)])
    runner_coordination_service_pb2_grpc.add_RunnerCoordinationServiceServicer_to_server(
        servicer, server
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield servicer, f"127.0.0.1:{port}"
    await server.stop(0)


@pytest.mark.parametrize("size", [1, WHOLE_UP_TO], ids=["small", "in parts"])
async def test_a_chain_of_another_runner_is_abandoned_and_its_report_not_repeated(
    refusing: tuple[Refusing, str], size: int
) -> None:
    servicer, address = refusing
    outbox = Outbox(address)
    abandoned: list[tuple[str, int]] = []
    sending = asyncio.create_task(
        outbox.run(lambda: "runner", lambda *chain: abandoned.append(chain))
    )
    report = coordination_pb2.RunnerReport()
    report.suspended.request_id, report.suspended.epoch = "r1", 3
    report.suspended.job_chain.jobs.append(job_chain_pb2.Job(id="aaaa", bytes=bytes(size)))

    outbox.put("r1", report)
    async with asyncio.timeout(20):
        await outbox.wait_empty()

    assert abandoned == [("r1", 3)]
    assert servicer.calls == 1
    sending.cancel()
    with suppress(asyncio.CancelledError):
        await sending
    await outbox.close()
