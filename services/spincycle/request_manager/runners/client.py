"""gRPC client of job runners; calls are batched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias

import grpc
from google.protobuf.message import DecodeError

from spincycle.batching.coalescer import Coalescer
from spincycle.errors import RunnerUnreachable, SpinCycleError
from spincycle.identity.append_grants import GrantKeys
from spincycle.internal.v1 import (
    append_grant_pb2,
    job_runner_service_pb2,
    job_runner_service_pb2_grpc,
)
from spincycle.request_manager.storage.model import Assignment, Runner
from spincycle.rpc.channel import Dial, open_channel
from spincycle.rpc.limits import upload_seconds
from spincycle.rpc.status import from_message, from_rpc_error
from spincycle.runtime import deadline
from spincycle.v1 import suspended_job_chain_pb2
from spincycle.wire.append_grants import encode_grant
from spincycle.wire.chain_parts import WHOLE_UP_TO, cut_chain, cut_suspended_chain
from spincycle.wire.parts import embedded

StopCommand = tuple[Sequence[str], str]
"""Ids of requests to stop or to suspend, and the reason."""

REFUSALS = frozenset(
    {
        "INVALID_CHAIN",
        "JOURNAL_BEHIND",
        "RUNNER_DRAINING",
        "RUNNER_FULL",
        "STALE_EPOCH",
        "WRONG_RUNNER",
    }
)
"""Error reasons with which a runner says that it did not accept a chain."""

BYTES_A_SECOND = 1_000_000
"""Bytes of chains that a busy runner reads in a second, at the least."""


@dataclass(slots=True)
class DispatchResult:
    """Outcome of requests that were sent to one runner.

    Attributes:
        accepted: the runner holds them.
        refused: the runner does not hold them, and why: it refused them or is unreachable.
        unanswered: the runner may or may not hold them.
        damaged: they were not sent, since their saved states cannot be read.
    """

    accepted: list[Assignment] = field(default_factory=list)
    refused: dict[Assignment, SpinCycleError] = field(default_factory=dict)
    unanswered: list[Assignment] = field(default_factory=list)
    damaged: list[Assignment] = field(default_factory=list)

    def mark_doubtful(self, is_doubtful: Callable[[Assignment, SpinCycleError], bool]) -> None:
        """Count some refusals as unanswered: another process may have sent the request, too."""
        for assigned, error in list(self.refused.items()):
            if is_doubtful(assigned, error):
                del self.refused[assigned]
                self.unanswered.append(assigned)


GrantSource = Callable[[], GrantKeys]
"""Returns the current grant keys."""

_Run = job_runner_service_pb2.RunChainsRequest
_Assignment = job_runner_service_pb2.Assignment
_RunChains: TypeAlias = (
    "grpc.aio.UnaryUnaryMultiCallable[bytes, job_runner_service_pb2.RunChainsResponse]"
)


class RunnerClient:
    """Calls one runner over a channel that stays open.

    Args:
        timeout: seconds for calls.
        grants: returns the current grant keys, with which the runner is entitled to append entries
            of the chains sent to it; None if the services are not identified.
    """

    def __init__(
        self,
        runner: Runner,
        timeout: float,
        dial: Dial = open_channel,
        grants: GrantSource | None = None,
    ) -> None:
        self.runner = runner
        self._timeout = timeout
        self._grants = grants
        self._channel = dial(runner.address)
        self.stub = job_runner_service_pb2_grpc.JobRunnerServiceStub(self._channel)
        self._run_chains: _RunChains = self._channel.unary_unary(
            "/spincycle.internal.v1.JobRunnerService/RunChains",
            response_deserializer=job_runner_service_pb2.RunChainsResponse.FromString,
        )
        self._stops = Coalescer[StopCommand, None](self._stop)
        self._suspends = Coalescer[StopCommand, None](self._suspend)

    async def run(self, chains: dict[Assignment, bytes]) -> DispatchResult:
        """Send new chains, serialized; one that is too large for a message must be sent alone."""
        if (large := _large(chains)) is not None:
            return await self._upload(
                large,
                len(chains[large]),
                (
                    job_runner_service_pb2.UploadChainRequest(job_chain=part)
                    for part in cut_chain(chains[large])
                ),
            )
        # Chains are sent as they are archived, without decoding them.
        parts = [_Run(runner_id=self.runner.runner_id).SerializeToString()]
        for assigned, chain in chains.items():
            assignment = _Assignment(
                epoch=assigned.epoch, append_grant=self._grant(assigned)
            ).SerializeToString()
            assignment += embedded(_Assignment.JOB_CHAIN_FIELD_NUMBER, chain)
            parts.append(embedded(_Run.ASSIGNMENTS_FIELD_NUMBER, assignment))
        if not await self._is_connected():
            return self._not_sent(list(chains))
        try:
            sent = b"".join(parts)
            with self._open():
                response = await self._run_chains(sent, timeout=self._time_for(len(sent)))
        except grpc.aio.AioRpcError as failure:
            return self._failure_result(list(chains), failure)
        except RunnerUnreachable:
            return DispatchResult(unanswered=list(chains))
        return _response_result(list(chains), response.refusals)

    async def resume(self, suspended: dict[Assignment, bytes]) -> DispatchResult:
        """Send chains to resume, serialized with their saved states, in the same way."""
        damaged: list[Assignment] = []
        if (large := _large(suspended)) is not None:
            return await self._upload(
                large,
                len(suspended[large]),
                (
                    job_runner_service_pb2.UploadChainRequest(suspended_job_chain=part)
                    for part in cut_suspended_chain(suspended[large])
                ),
            )
        request = job_runner_service_pb2.ResumeChainsRequest(runner_id=self.runner.runner_id)
        for assigned, state in suspended.items():
            try:
                chain = suspended_job_chain_pb2.SuspendedJobChain.FromString(state)
            except DecodeError:
                damaged.append(assigned)
                continue
            chain.epoch = assigned.epoch
            request.suspended_job_chains.append(chain)
            grant = self._grant(assigned)
            if grant is not None:
                request.append_grants.append(grant)
        result = await self._resume(request, [one for one in suspended if one not in damaged])
        result.damaged = damaged
        return result

    async def _resume(
        self, request: job_runner_service_pb2.ResumeChainsRequest, assigned: list[Assignment]
    ) -> DispatchResult:
        if not await self._is_connected():
            return self._not_sent(assigned)
        try:
            timeout = self._time_for(request.ByteSize())
            with self._open():
                response = await self.stub.ResumeChains(request, timeout=timeout)
        except grpc.aio.AioRpcError as failure:
            return self._failure_result(assigned, failure)
        except RunnerUnreachable:
            return DispatchResult(unanswered=assigned)
        return _response_result(assigned, response.refusals)

    async def _upload(
        self,
        assigned: Assignment,
        size: int,
        parts: Iterator[job_runner_service_pb2.UploadChainRequest],
    ) -> DispatchResult:
        async def requests() -> AsyncIterator[job_runner_service_pb2.UploadChainRequest]:
            grant = self._grant(assigned)
            for request in parts:
                request.runner_id = self.runner.runner_id
                request.epoch = assigned.epoch
                if grant is not None:
                    request.append_grant.CopyFrom(grant)
                    grant = None
                yield request

        if not await self._is_connected():
            return self._not_sent([assigned])
        try:
            timeout = self._timeout + upload_seconds(size)
            with self._open():
                await self.stub.UploadChain(requests(), timeout=timeout)
        except RunnerUnreachable:
            return DispatchResult(unanswered=[assigned])
        except grpc.aio.AioRpcError as failure:
            error = from_rpc_error(failure, "job runner", self.runner.address)
            if error.reason in REFUSALS:
                return DispatchResult(refused={assigned: error})
            return DispatchResult(unanswered=[assigned])
        return DispatchResult(accepted=[assigned])

    async def stop(self, request_ids: Sequence[str], reason: str) -> None:
        """Forward the stop of requests.

        Raises:
            RunnerUnreachable: the runner did not respond.
        """
        await self._stops.submit((request_ids, reason))

    async def suspend(self, request_ids: Sequence[str], reason: str) -> None:
        """Forward the suspension of requests.

        Raises:
            RunnerUnreachable: the runner did not respond.
        """
        await self._suspends.submit((request_ids, reason))

    async def _stop(self, commands: Sequence[StopCommand]) -> Sequence[None]:
        for reason, request_ids in _by_reason(commands).items():
            request = job_runner_service_pb2.StopChainsRequest(
                request_ids=request_ids, reason=reason
            )
            try:
                with self._open():
                    await self.stub.StopChains(request, timeout=deadline.remaining(self._timeout))
            except grpc.aio.AioRpcError as failure:
                raise self._unreachable(failure)
        return [None] * len(commands)

    async def _suspend(self, commands: Sequence[StopCommand]) -> Sequence[None]:
        for reason, request_ids in _by_reason(commands).items():
            request = job_runner_service_pb2.SuspendChainsRequest(
                request_ids=request_ids, reason=reason
            )
            try:
                with self._open():
                    await self.stub.SuspendChains(
                        request, timeout=deadline.remaining(self._timeout)
                    )
            except grpc.aio.AioRpcError as failure:
                raise self._unreachable(failure)
        return [None] * len(commands)

    async def list_running(
        self, request: job_runner_service_pb2.ListRunningRequest
    ) -> job_runner_service_pb2.ListRunningResponse:
        """Return the running jobs of the runner that the request selects.

        Raises:
            RunnerUnreachable: the runner did not respond.
        """
        try:
            timeout = deadline.remaining(self._timeout)
            with self._open():
                return await self.stub.ListRunning(request, timeout=timeout)
        except grpc.aio.AioRpcError as failure:
            raise self._unreachable(failure)

    async def explain(
        self, request: job_runner_service_pb2.ExplainChainRequest, timeout: float
    ) -> job_runner_service_pb2.ExplainChainResponse | None:
        """Return what a chain and its jobs wait for; None if the runner does not hold it.

        Raises:
            RunnerUnreachable: the runner did not respond within `timeout` seconds.
        """
        try:
            timeout = deadline.remaining(timeout)
            with self._open():
                return await self.stub.ExplainChain(request, timeout=timeout)
        except grpc.aio.AioRpcError as failure:
            if failure.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise self._unreachable(failure)

    async def close(self) -> None:
        """Close the channel; active calls end as if the runner did not respond."""
        await self._channel.close()

    def _grant(self, assigned: Assignment) -> append_grant_pb2.AppendGrant | None:
        """Return the grant for an assignment; None for a runner without an identity."""
        if self._grants is None or not self.runner.identity:
            return None
        return encode_grant(
            self._grants().grant(assigned.request_id, assigned.epoch, self.runner.identity)
        )

    @contextmanager
    def _open(self) -> Iterator[None]:
        """Raise RunnerUnreachable if the channel is closed during a call.

        It is closed when the runner is evicted. gRPC then raises CancelledError in the call.
        """
        try:
            yield
        except grpc.aio.UsageError:
            raise self._closed()
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            raise self._closed()

    def _closed(self) -> RunnerUnreachable:
        return RunnerUnreachable(
            self.runner.runner_id, self.runner.address, "the runner was deregistered"
        )

    def _time_for(self, size: int) -> float:
        """Return the seconds that the runner has to read `size` bytes of chains and respond."""
        return self._timeout + size / BYTES_A_SECOND

    async def _is_connected(self) -> bool:
        """Return whether there is a connection, so that a call is certainly sent.

        A call that fails may still have been accepted; without a connection it was not.
        """
        try:
            async with asyncio.timeout(self._timeout):
                state = self._channel.get_state(try_to_connect=True)
                while state is not grpc.ChannelConnectivity.READY:
                    if state in (
                        grpc.ChannelConnectivity.TRANSIENT_FAILURE,
                        grpc.ChannelConnectivity.SHUTDOWN,
                    ):
                        return False
                    await self._channel.wait_for_state_change(state)
                    state = self._channel.get_state(try_to_connect=True)
        except (TimeoutError, grpc.aio.UsageError):
            return False
        return True

    def _not_sent(self, assigned: list[Assignment]) -> DispatchResult:
        error = RunnerUnreachable(self.runner.runner_id, self.runner.address, "no connection")
        return DispatchResult(refused=dict.fromkeys(assigned, error))

    def _unreachable(self, failure: grpc.aio.AioRpcError) -> RunnerUnreachable:
        cause = failure.details() or failure.code().name
        return RunnerUnreachable(self.runner.runner_id, self.runner.address, cause)

    def _failure_result(
        self, assigned: list[Assignment], failure: grpc.aio.AioRpcError
    ) -> DispatchResult:
        error = from_rpc_error(failure, "job runner", self.runner.address)
        if error.reason == "WRONG_RUNNER":
            return DispatchResult(refused=dict.fromkeys(assigned, error))
        return DispatchResult(unanswered=assigned)


def _large(chains: dict[Assignment, bytes]) -> Assignment | None:
    """Return the chain that is too large for a message, if there is one."""
    for assigned, chain in chains.items():
        if len(chain) > WHOLE_UP_TO:
            assert len(chains) == 1, "a large chain must be sent alone"
            return assigned
    return None


def _by_reason(commands: Sequence[StopCommand]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for request_ids, reason in commands:
        found.setdefault(reason, []).extend(request_ids)
    return found


def _response_result(
    assigned: list[Assignment], refusals: Sequence[job_runner_service_pb2.Refusal]
) -> DispatchResult:
    errors = {refusal.request_id: from_message(refusal.error) for refusal in refusals}
    result = DispatchResult()
    for one in assigned:
        if one.request_id in errors:
            result.refused[one] = errors[one.request_id]
        else:
            result.accepted.append(one)
    return result
