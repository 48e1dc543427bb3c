"""RunnerCoordinationService: wire types in, wire types out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import grpc

from spincycle.errors import DatabaseUnavailable, InvalidInput, NotYours, SpinCycleError
from spincycle.identity.append_grants import GrantKeys
from spincycle.identity.service_identity import GATEWAY
from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.internal.v1 import runner_coordination_service_pb2_grpc
from spincycle.request_manager.codec import (
    decode_chains,
    decode_finish,
    decode_report,
    join_suspended,
    report_request_id,
)
from spincycle.request_manager.runners.reconciliation import IsProven, Reconciler
from spincycle.request_manager.runners.registry import RunnerRegistry
from spincycle.request_manager.runners.reports import Reports
from spincycle.request_manager.runners.runner_networks import RunnerNetworks
from spincycle.request_manager.storage.heartbeats import Heartbeat, Registration
from spincycle.rpc.address import is_address, is_unix
from spincycle.rpc.identification import OnRefusal, RefusedCall, caller, caller_id
from spincycle.rpc.status import to_message
from spincycle.text.shortening import shortened
from spincycle.v1 import request_report_pb2, suspended_job_chain_pb2
from spincycle.wire.append_grants import decode_grant
from spincycle.wire.times import get_seconds, to_timestamp

MOST_COUNTED = 2**31 - 1
"""Largest number of chains or jobs that is stored; larger numbers mean no limit."""

_REPORT = "/spincycle.internal.v1.RunnerCoordinationService/Report"

Context = grpc.aio.ServicerContext[Any, Any]


class RunnerCoordinationService(
    runner_coordination_service_pb2_grpc.RunnerCoordinationServiceServicer
):
    """Serves RunnerCoordinationService of the contract.

    Args:
        networks: where runners may be reached.
        grants: returns the current grant keys; None if callers are not identified.
        on_refusal: receives reports that were refused to their caller; a call that is refused as a
            whole goes to the on_refusal of the server.
        beat_interval: seconds between two heartbeats of a runner.
        silence_limit: seconds without a heartbeat after which a runner is evicted.
    """

    def __init__(
        self,
        registry: RunnerRegistry,
        reports: Reports,
        reconciler: Reconciler,
        networks: RunnerNetworks,
        grants: Callable[[], GrantKeys] | None,
        on_refusal: OnRefusal,
        beat_interval: float,
        silence_limit: float,
    ) -> None:
        self._registry = registry
        self._reports = reports
        self._reconciler = reconciler
        self._networks = networks
        self._grants = grants
        self._on_refusal = on_refusal
        self._beat_interval = beat_interval
        self._silence_limit = silence_limit

    async def Register(
        self, request: coordination_pb2.RegisterRequest, context: Context
    ) -> coordination_pb2.RegisterResponse:
        if request.address:
            self._check_address(request.address, context)
        stored = await self._registry.register(
            Registration(
                runner_id=request.runner_id,
                address=request.address,
                max_chains=min(request.max_chains, MOST_COUNTED),
                max_jobs=min(request.max_jobs, MOST_COUNTED),
                job_types=tuple(request.job_types),
                version=request.version,
                features=tuple(request.features),
                identity=caller_id(),
            )
        )
        response = coordination_pb2.RegisterResponse()
        response.heartbeat_interval.FromTimedelta(timedelta(seconds=self._beat_interval))
        response.silence_timeout.FromTimedelta(timedelta(seconds=self._silence_limit))
        response.stored_at.CopyFrom(to_timestamp(stored.at))
        return response

    def _check_address(self, address: str, context: Context) -> None:
        if not is_address(address):
            raise InvalidInput(
                f'"{shortened(address, 100)}" is not an address of a runner; it must be '
                "host:port or unix:/path",
                "address",
            )
        if not is_unix(address):
            self._networks.check(address)
        elif not is_unix(context.peer()):
            raise InvalidInput(
                f"{address} is a Unix socket of the runner's machine, and the runner is "
                "not connected over one; set advertise to host:port",
                "address",
            )

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
                identity=caller_id(),
            )
        )
        response = coordination_pb2.HeartbeatResponse(
            stop_request_ids=signals.stop,
            suspend_request_ids=signals.suspend,
            stored_at=to_timestamp(signals.stored.at),
        )
        if request.HasField("missing_chains"):
            missing = decode_chains(request.missing_chains)
            await self._reconciler.recover(request.runner_id, missing)
        elif request.HasField("held_chains"):
            held = decode_chains(request.held_chains)
            is_proven = self._proofs(request.held_chains)
            difference = await self._reconciler.compare(request.runner_id, held, is_proven)
            for listed, chains in (
                (response.expected_chains, difference.expected),
                (response.abandoned_chains, difference.abandoned),
            ):
                for request_id, epoch in chains.items():
                    listed.add(request_id=request_id, epoch=epoch)
        elif not request.leaving:
            response.list_chains = signals.chains_digest != request.chains_digest
        return response

    def _proofs(self, held: coordination_pb2.ChainList) -> IsProven:
        """Return whether a chain was assigned to the caller, as its append grant proves."""
        identity = caller_id()
        if not identity:
            return lambda _, __: True
        shown = {chain.request_id: decode_grant(chain.append_grant) for chain in held.chains}

        def is_proven(request_id: str, epoch: int) -> bool:
            if self._grants is None:
                return False
            # A grant of another chain does not verify for this one.
            grant = replace(shown[request_id], request_id=request_id, epoch=epoch)
            return not self._grants().verify(grant, identity)

        return is_proven

    async def Report(
        self, request: coordination_pb2.ReportRequest, context: Context
    ) -> coordination_pb2.ReportResponse:
        response = coordination_pb2.ReportResponse()
        outcomes: Sequence[SpinCycleError | None]
        try:
            reporter = await self._reporter(request.runner_id)
        except NotYours as refused:
            # A failed call would be repeated by its runner.
            outcomes = [refused] * len(request.reports)
            self._refuse(context, refused)
        else:
            outcomes = await asyncio.gather(
                *(self._store(report, reporter) for report in request.reports)
            )
            for outcome in outcomes:
                if isinstance(outcome, NotYours):
                    self._refuse(context, outcome)
        for report, outcome in zip(request.reports, outcomes, strict=True):
            result = response.results.add(request_id=report_request_id(report))
            if outcome:
                result.refused.CopyFrom(to_message(outcome))
        return response

    async def UploadSuspended(
        self,
        request_iterator: AsyncIterator[coordination_pb2.UploadSuspendedRequest],
        context: Context,
    ) -> coordination_pb2.UploadSuspendedResponse:
        first = await anext(request_iterator, coordination_pb2.UploadSuspendedRequest())
        reporter = await self._reporter(first.runner_id)

        async def parts() -> AsyncIterator[suspended_job_chain_pb2.SuspendedJobChain]:
            yield first.part
            async for request in request_iterator:
                yield request.part

        await self._reports.store(await join_suspended(parts(), reporter))
        return coordination_pb2.UploadSuspendedResponse()

    async def Finish(
        self, request: request_report_pb2.FinishRequest, context: Context
    ) -> coordination_pb2.FinishResponse:
        await self._reports.store(decode_finish(request))
        return coordination_pb2.FinishResponse()

    async def _reporter(self, runner_id: str) -> str:
        """Return the runner whose requests the caller may report on; empty for those of any runner.

        Raises:
            NotYours: the caller did not register the runner that it names.
        """
        identity = caller()
        if identity is None or identity.service == GATEWAY:
            return ""
        await self._registry.check_owner(runner_id, str(identity))
        return runner_id

    async def _store(
        self, report: coordination_pb2.RunnerReport, runner_id: str
    ) -> SpinCycleError | None:
        """Store a report; return why it was refused. An unreachable database fails the call."""
        try:
            await self._reports.store(decode_report(report, runner_id))
        except DatabaseUnavailable:
            raise
        except SpinCycleError as refused:
            return refused
        return None

    def _refuse(self, context: Context, error: NotYours) -> None:
        self._on_refusal(RefusedCall(_REPORT, caller_id(), context.peer(), error))
