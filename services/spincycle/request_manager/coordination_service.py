"""RunnerCoordinationService: wire types in, wire types out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import grpc

from spincycle.errors import DatabaseUnavailable, InvalidInput, SpinCycleError
from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.internal.v1 import runner_coordination_service_pb2_grpc
from spincycle.request_manager.codec import (
    decode_finish,
    decode_report,
    join_suspended,
    report_request_id,
)
from spincycle.request_manager.runners.reconciliation import Reconciler
from spincycle.request_manager.runners.registry import RunnerRegistry
from spincycle.request_manager.runners.reports import Reports
from spincycle.request_manager.storage.heartbeats import Heartbeat, Registration
from spincycle.rpc.address import is_address, is_unix
from spincycle.rpc.status import to_message
from spincycle.text.shortening import shortened
from spincycle.v1 import request_report_pb2
from spincycle.wire.times import get_seconds, to_timestamp

MOST_COUNTED = 2**31 - 1
"""Largest number of chains or jobs that is stored; larger numbers mean no limit."""

Context = grpc.aio.ServicerContext[Any, Any]


class RunnerCoordinationService(
    runner_coordination_service_pb2_grpc.RunnerCoordinationServiceServicer
):
    """Serves RunnerCoordinationService of the contract.

    Args:
        beat_interval: seconds between two heartbeats of a runner.
        silence_limit: seconds without a heartbeat after which a runner is evicted.
    """

    def __init__(
        self,
        registry: RunnerRegistry,
        reports: Reports,
        reconciler: Reconciler,
        beat_interval: float,
        silence_limit: float,
    ) -> None:
        self._registry = registry
        self._reports = reports
        self._reconciler = reconciler
        self._beat_interval = beat_interval
        self._silence_limit = silence_limit

    async def Register(
        self, request: coordination_pb2.RegisterRequest, context: Context
    ) -> coordination_pb2.RegisterResponse:
        if request.address and not is_address(request.address):
            raise InvalidInput(
                f'"{shortened(request.address, 100)}" is not an address of a runner; it must be '
                "host:port or unix:/path",
                "address",
            )
        if is_unix(request.address) and not is_unix(context.peer()):
            raise InvalidInput(
                f"{request.address} is a Unix socket of the runner's machine, and the runner is "
                "not connected over one; set advertise to host:port",
                "address",
            )
        stored = await self._registry.register(
            Registration(
                runner_id=request.runner_id,
                address=request.address,
                max_chains=min(request.max_chains, MOST_COUNTED),
                max_jobs=min(request.max_jobs, MOST_COUNTED),
                job_types=tuple(request.job_types),
                version=request.version,
                features=tuple(request.features),
            )
        )
        response = coordination_pb2.RegisterResponse()
        response.heartbeat_interval.FromTimedelta(timedelta(seconds=self._beat_interval))
        response.silence_timeout.FromTimedelta(timedelta(seconds=self._silence_limit))
        response.stored_at.CopyFrom(to_timestamp(stored.at))
        return response

    async def Heartbeat(
        self, request: coordination_pb2.HeartbeatRequest, context: Context
    ) -> coordination_pb2.HeartbeatResponse:
        signals = await self._registry.store_heartbeat(
            Heartbeat(
                runner_id=request.runner_id,
                chains=min(request.chains, MOST_COUNTED),
                jobs=min(request.jobs, MOST_COUNTED),
                draining=request.draining,
                leaving=request.leaving,
                journal_lag=get_seconds(request.oldest_unacknowledged),
                loop_lag=get_seconds(request.loop_lag),
            )
        )
        response = coordination_pb2.HeartbeatResponse(
            stop_request_ids=signals.stop,
            suspend_request_ids=signals.suspend,
            stored_at=to_timestamp(signals.stored.at),
        )
        if request.HasField("missing_chains"):
            missing = _epochs(request.missing_chains)
            await self._reconciler.recover(request.runner_id, missing)
        elif request.HasField("held_chains"):
            held = _epochs(request.held_chains)
            difference = await self._reconciler.compare(request.runner_id, held)
            for listed, chains in (
                (response.expected_chains, difference.expected),
                (response.abandoned_chains, difference.abandoned),
            ):
                for request_id, epoch in chains.items():
                    listed.add(request_id=request_id, epoch=epoch)
        elif not request.leaving:
            response.list_chains = signals.chains_digest != request.chains_digest
        return response

    async def Report(
        self, request: coordination_pb2.ReportRequest, context: Context
    ) -> coordination_pb2.ReportResponse:
        response = coordination_pb2.ReportResponse()
        outcomes = await asyncio.gather(*(self._store(report) for report in request.reports))
        for report, refused in zip(request.reports, outcomes, strict=True):
            result = response.results.add(request_id=report_request_id(report))
            if refused:
                result.refused.CopyFrom(to_message(refused))
        return response

    async def UploadSuspended(
        self,
        request_iterator: AsyncIterator[coordination_pb2.UploadSuspendedRequest],
        context: Context,
    ) -> coordination_pb2.UploadSuspendedResponse:
        await self._reports.store(
            await join_suspended(request.part async for request in request_iterator)
        )
        return coordination_pb2.UploadSuspendedResponse()

    async def Finish(
        self, request: request_report_pb2.FinishRequest, context: Context
    ) -> coordination_pb2.FinishResponse:
        await self._reports.store(decode_finish(request))
        return coordination_pb2.FinishResponse()

    async def _store(self, report: coordination_pb2.RunnerReport) -> SpinCycleError | None:
        """Store a report; return why it was refused. An unreachable database fails the call."""
        try:
            await self._reports.store(decode_report(report))
        except DatabaseUnavailable:
            raise
        except SpinCycleError as refused:
            return refused
        return None


def _epochs(chains: coordination_pb2.ChainList) -> dict[str, int]:
    return {chain.request_id: chain.epoch for chain in chains.chains}
