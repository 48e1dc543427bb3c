"""Reports to the request manager: kept until they are taken, however long that takes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import islice

import grpc
import structlog

from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.internal.v1.runner_coordination_service_pb2_grpc import (
    RunnerCoordinationServiceStub,
)
from spincycle.rpc.channel import Dial, open_channel
from spincycle.rpc.limits import upload_seconds
from spincycle.rpc.status import from_rpc_error, to_message
from spincycle.runtime.backoff import Backoff
from spincycle.runtime.watchdog import Watchdog
from spincycle.wire.chain_parts import WHOLE_UP_TO, cut_suspended_chain

MAX_BATCH = 500
"""Most reports in one call."""

MAX_BATCH_BYTES = 16 * 1024 * 1024
"""Size after which a call takes no further report."""

TIMEOUT = 15.0
"""Seconds for one call."""

FIRST_RETRY = 0.1
LAST_RETRY = 2.0
"""Seconds before a failed call is made again: doubled from the first to the last."""

Report = coordination_pb2.RunnerReport

FOR_GOOD = frozenset(
    {"STALE_EPOCH", "INVALID_STATE", "REQUEST_NOT_FOUND", "INVALID_INPUT", "INVALID_CHAIN"}
)
"""Refusals after which a saved state is not sent again."""

ABANDON = frozenset({"STALE_EPOCH"})
"""Refusals after which the chain belongs to another runner."""


class Outbox:
    """Holds the last report of each request, which says all that the earlier ones said."""

    def __init__(self, address: str, dial: Dial = open_channel) -> None:
        self._channel = dial(address)
        self._stub = RunnerCoordinationServiceStub(self._channel)
        self._reports: dict[str, Report] = {}
        self._something = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._backoff = Backoff(FIRST_RETRY, LAST_RETRY)
        self.pulse = Watchdog()

    def put(self, request_id: str, report: Report) -> None:
        """Report something; progress never takes the place of an end."""
        kept = self._reports.get(request_id)
        if kept is not None and report.HasField("progress") and not kept.HasField("progress"):
            return
        self._reports[request_id] = report
        self._empty.clear()
        self._something.set()

    def unstored_ends(self) -> dict[str, int]:
        """Epochs of requests whose end or saved state is still to be stored, by request id."""
        return {
            request_id: _epoch(report)
            for request_id, report in self._reports.items()
            if not report.HasField("progress")
        }

    async def emptied(self) -> None:
        """Return when everything that was put is taken or refused."""
        await self._empty.wait()

    async def run(self, runner_id: Callable[[], str], abandon: Callable[[str, int], None]) -> None:
        """Send what is put, until cancelled.

        `abandon` is called with the request and epoch of a chain that belongs to another
        runner by now.
        """
        while True:
            await self._something.wait()
            if not self._reports:
                self._something.clear()
                self._empty.set()
                self.pulse.idle()
                continue
            self.pulse.start()
            batch = self._next_batch()
            if _is_large(next(iter(batch.values()))):
                await self._upload(batch, runner_id(), abandon)
                continue
            try:
                response = await self._stub.Report(
                    coordination_pb2.ReportRequest(runner_id=runner_id(), reports=batch.values()),
                    timeout=TIMEOUT,
                )
            except grpc.aio.AioRpcError as failure:
                structlog.get_logger().warning(
                    "reports wait", reports=len(self._reports), cause=failure.details()
                )
                self.pulse.tick()
                await self._backoff.wait()
                continue
            self._backoff.reset()
            self.pulse.tick()
            self._settle(batch, response, abandon)

    async def close(self) -> None:
        """Close the channel; what was not taken stays so."""
        await self._channel.close()

    def _next_batch(self) -> dict[str, Report]:
        batch: dict[str, Report] = {}
        size = 0
        for request_id, report in islice(self._reports.items(), MAX_BATCH):
            if batch and _is_large(report):
                break
            batch[request_id] = report
            size += report.ByteSize()
            if size > MAX_BATCH_BYTES:
                break
        return batch

    async def _upload(
        self, batch: dict[str, Report], runner_id: str, abandon: Callable[[str, int], None]
    ) -> None:
        """Send the saved state of one large chain; after a failure, wait for the next attempt."""
        ((request_id, report),) = batch.items()
        serialized = report.suspended.SerializeToString()
        result = coordination_pb2.ReportResult(request_id=request_id)
        try:
            await self._stub.UploadSuspended(
                _parts(serialized, runner_id), timeout=TIMEOUT + upload_seconds(len(serialized))
            )
        except grpc.aio.AioRpcError as failure:
            refused = from_rpc_error(failure, "request manager", "")
            if refused.reason not in FOR_GOOD:
                structlog.get_logger().warning(
                    "a saved state waits", request_id=request_id, cause=failure.details()
                )
                self.pulse.tick()
                await self._backoff.wait()
                return
            result.refused.CopyFrom(to_message(refused))
        self.pulse.tick()
        response = coordination_pb2.ReportResponse(results=[result])
        self._settle(batch, response, abandon)
        self._backoff.reset()

    def _settle(
        self,
        batch: dict[str, Report],
        response: coordination_pb2.ReportResponse,
        abandon: Callable[[str, int], None],
    ) -> None:
        for (request_id, report), result in zip(batch.items(), response.results, strict=True):
            # A later report may have taken its place while this one was on its way.
            if self._reports.get(request_id) is report:
                del self._reports[request_id]
            if not result.HasField("refused"):
                continue
            refused = result.refused
            structlog.get_logger().warning(
                "report refused", request_id=request_id, reason=refused.reason, why=refused.message
            )
            if refused.reason in ABANDON:
                abandon(request_id, _epoch(report))


def _is_large(report: Report) -> bool:
    return report.HasField("suspended") and report.ByteSize() > WHOLE_UP_TO


async def _parts(
    serialized: bytes, runner_id: str
) -> AsyncIterator[coordination_pb2.UploadSuspendedRequest]:
    for part in cut_suspended_chain(serialized):
        yield coordination_pb2.UploadSuspendedRequest(runner_id=runner_id, part=part)


def _epoch(report: Report) -> int:
    match report.WhichOneof("report"):
        case "progress":
            return report.progress.epoch
        case "finish":
            return report.finish.epoch
    return report.suspended.epoch
