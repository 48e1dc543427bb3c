"""Outbox of reports to the request manager, which are resent until they are acknowledged."""

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
"""Maximum reports per call."""

MAX_BATCH_BYTES = 16 * 1024 * 1024
"""Size in bytes from which no further report is added to a call."""

TIMEOUT = 15.0
"""Deadline of one call in seconds."""

FIRST_RETRY = 0.1
LAST_RETRY = 2.0
"""Seconds before a failed call is retried: doubled from the first to the last."""

Report = coordination_pb2.RunnerReport

FENCED = frozenset({"STALE_EPOCH", "NOT_YOURS"})
"""Error reasons that mean that another runner owns the chain."""

FINAL_REFUSALS = FENCED | {
    "INVALID_STATE",
    "REQUEST_NOT_FOUND",
    "INVALID_INPUT",
    "INVALID_CHAIN",
}
"""Error reasons after which a saved state is not resent."""


class Outbox:
    """Holds the last report of each request, which replaces the earlier ones."""

    def __init__(self, address: str, dial: Dial = open_channel) -> None:
        self._channel = dial(address)
        self._stub = RunnerCoordinationServiceStub(self._channel)
        self._reports: dict[str, Report] = {}
        self._wakeup = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self._backoff = Backoff(FIRST_RETRY, LAST_RETRY)
        self.watchdog = Watchdog()

    def put(self, request_id: str, report: Report) -> None:
        """Enqueue a report; progress never replaces an end or a saved state."""
        kept = self._reports.get(request_id)
        if kept is not None and report.HasField("progress") and not kept.HasField("progress"):
            return
        self._reports[request_id] = report
        self._empty.clear()
        self._wakeup.set()

    def unstored_ends(self) -> dict[str, int]:
        """Return the epochs of requests whose end or saved state is unacknowledged, by id."""
        return {
            request_id: _epoch(report)
            for request_id, report in self._reports.items()
            if not report.HasField("progress")
        }

    async def wait_empty(self) -> None:
        """Wait until every report is acknowledged or refused."""
        await self._empty.wait()

    async def run(self, runner_id: Callable[[], str], abandon: Callable[[str, int], None]) -> None:
        """Send the reports, until cancelled.

        `abandon` is called with the request id and epoch of a chain that another runner owns.
        """
        while True:
            await self._wakeup.wait()
            if not self._reports:
                self._wakeup.clear()
                self._empty.set()
                self.watchdog.idle()
                continue
            self.watchdog.start()
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
                    "reports not sent", reports=len(self._reports), cause=failure.details()
                )
                self.watchdog.tick()
                await self._backoff.wait()
                continue
            self._backoff.reset()
            self.watchdog.tick()
            self._settle(batch, response, abandon)

    async def close(self) -> None:
        """Close the channel; unacknowledged reports are not sent."""
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
            if refused.reason not in FINAL_REFUSALS:
                structlog.get_logger().warning(
                    "saved state not sent", request_id=request_id, cause=failure.details()
                )
                self.watchdog.tick()
                await self._backoff.wait()
                return
            result.refused.CopyFrom(to_message(refused))
        self.watchdog.tick()
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
            # A later report may have replaced this one during the call.
            if self._reports.get(request_id) is report:
                del self._reports[request_id]
            if not result.HasField("refused"):
                continue
            refused = result.refused
            structlog.get_logger().warning(
                "report refused",
                request_id=request_id,
                reason=refused.reason,
                message=refused.message,
            )
            if refused.reason in FENCED:
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
