"""Registration of the runner with the request managers, and what its heartbeats say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import grpc
import structlog
from google.protobuf.timestamp_pb2 import Timestamp

from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.internal.v1.runner_coordination_service_pb2_grpc import (
    RunnerCoordinationServiceStub,
)
from spincycle.job_runner.database_clock import DatabaseClock
from spincycle.job_runner.heartbeat_thread import (
    RETRY_INTERVAL,
    TIMEOUT,
    Acknowledgement,
    HeartbeatThread,
    HeartbeatTimes,
    LoopState,
    heartbeat_call,
)
from spincycle.job_runner.held_chains import HeldChains
from spincycle.job_runner.lease import Lease
from spincycle.model.request_id import RequestIds
from spincycle.rpc.channel import BlockingDial, Dial, open_blocking_channel, open_channel
from spincycle.runtime.backoff import Backoff
from spincycle.runtime.version import VERSION
from spincycle.runtime.watchdog import Watchdog
from spincycle.wire.append_grants import encode_grant
from spincycle.wire.times import get_nanoseconds


@dataclass(frozen=True, slots=True)
class Identity:
    """What a runner registers with; limits of 0 mean no limit."""

    address: str
    max_chains: int
    max_jobs: int
    job_types: tuple[str, ...]
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LoopLag:
    """Lag of the event loop, as heartbeats report it.

    Attributes:
        read: returns the current lag in seconds; may be called on any thread.
        limit: seconds of lag from which no heartbeat is sent.
    """

    read: Callable[[], float] = lambda: 0.0
    limit: float = float("inf")


@dataclass(frozen=True, slots=True)
class Dials:
    """Opens the channels: to register on the event loop, and to send heartbeats on a thread."""

    on_loop: Dial = open_channel
    on_thread: BlockingDial = open_blocking_channel


class Chains(Protocol):
    """The runner's chains: what heartbeats report and what their responses control."""

    @property
    def chains(self) -> int: ...

    @property
    def jobs(self) -> int: ...

    def stop(self, request_id: str, reason: str) -> bool: ...

    def suspend(self, request_id: str) -> bool: ...

    def abandon(self, request_id: str, epoch: int) -> None: ...

    def abandon_all(self) -> None: ...


class RunnerRegistration:
    """Registers the runner, has heartbeats sent and registers again after an eviction."""

    def __init__(
        self,
        request_manager: str,
        identity: Identity,
        chains: Chains,
        held: HeldChains,
        oldest_unacknowledged: Callable[[], float],
        lease: Lease,
        clock: DatabaseClock,
        *,
        dials: Dials = Dials(),
        lag: LoopLag = LoopLag(),
    ) -> None:
        self._address = request_manager
        self._identity = identity
        self._chains = chains
        self._held = held
        self._list_chains = False
        self._expected: dict[str, int] = {}
        self._oldest_unacknowledged = oldest_unacknowledged
        self._lease = lease
        self._clock = clock
        self._lag = lag
        self._channel = dials.on_loop(request_manager)
        self._stub = RunnerCoordinationServiceStub(self._channel)
        self._heartbeat_channel = dials.on_thread(request_manager)
        self._heartbeats: HeartbeatThread | None = None
        self._ids = RequestIds()
        self.runner_id = self._ids.new()
        self.registered = False
        self.draining = False
        self._deregistering = False
        self._interval = 2.0
        self._silence_timeout = 8.0
        self._acknowledged_at = float("-inf")
        self.watchdog = Watchdog()

    def is_connected(self) -> bool:
        """Return whether the runner is registered and at most one heartbeat went unacknowledged."""
        silence = self._lease.now() - self._acknowledged_at
        return self.registered and silence < 2 * self._interval + 1

    async def run(self) -> None:
        """Stay registered until cancelled or deregistered."""
        self.watchdog.start()
        while True:
            await self._register()
            await self._heartbeat_until_evicted()
            self._lease.revoke()
            self.registered = False
            if self._deregistering:
                return
            structlog.get_logger().error("runner evicted", runner_id=self.runner_id)
            self._chains.abandon_all()
            self._list_chains, self._expected = False, {}
            self.runner_id = self._ids.new()

    async def deregister(self) -> None:
        """Announce that this runner ends; other runners then take over its remaining chains."""
        self._deregistering = True
        heartbeat = self._heartbeat()
        heartbeat.leaving = True
        try:
            await self._stub.Heartbeat(heartbeat, timeout=TIMEOUT)
        except grpc.aio.AioRpcError as failure:
            structlog.get_logger().warning("departure not announced", cause=failure.details())

    async def close(self) -> None:
        """Close the channels."""
        if self._heartbeats is not None:
            self._heartbeats.stop()
        # Ends a heartbeat in flight, too.
        self._heartbeat_channel.close()
        await self._channel.close()

    async def _register(self) -> None:
        request = coordination_pb2.RegisterRequest(
            runner_id=self.runner_id,
            address=self._identity.address,
            max_chains=self._identity.max_chains,
            max_jobs=self._identity.max_jobs,
            job_types=self._identity.job_types,
            version=VERSION,
            features=self._identity.features,
        )
        failed_before = False
        backoff = Backoff(RETRY_INTERVAL, RETRY_INTERVAL)
        while True:
            lease_time, sent_at = self._lease.now(), self._clock.monotonic()
            try:
                response = await self._stub.Register(request, timeout=TIMEOUT)
            except grpc.aio.AioRpcError as failure:
                if not failed_before:
                    structlog.get_logger().warning(
                        "registration failed",
                        request_manager=self._address,
                        cause=failure.details(),
                    )
                failed_before = True
                self.watchdog.tick()
                await backoff.wait()
                continue
            self._estimate_time(sent_at, response.stored_at, self._clock.monotonic())
            self._interval = response.heartbeat_interval.ToTimedelta().total_seconds()
            self._silence_timeout = response.silence_timeout.ToTimedelta().total_seconds()
            self._lease.renew(lease_time, self._silence_timeout)
            self._acknowledged_at = self._lease.now()
            self.registered = True
            structlog.get_logger().info("registered", runner_id=self.runner_id)
            return

    async def _heartbeat_until_evicted(self) -> None:
        self.watchdog.idle()
        heartbeats = HeartbeatThread(
            heartbeat_call(self._heartbeat_channel),
            self._address,
            HeartbeatTimes(self._interval, self._silence_timeout),
            LoopState(self._heartbeat, self._acknowledged, self._lag.read, self._lag.limit),
            self._lease,
            self._clock,
        )
        self._heartbeats = heartbeats
        heartbeats.start()
        try:
            await heartbeats.ended
        finally:
            heartbeats.stop()
        self.watchdog.start()

    def _acknowledged(self, heartbeat: Acknowledgement) -> None:
        """Carry out the response to a heartbeat."""
        response = heartbeat.response
        self._estimate_time(heartbeat.sent_at, response.stored_at, heartbeat.received_at)
        self._acknowledged_at = heartbeat.received
        if self._reconcile(response) and self._heartbeats is not None:
            self._heartbeats.send_now()
        for request_id in response.stop_request_ids:
            self._chains.stop(request_id, "")
        for request_id in response.suspend_request_ids:
            self._chains.suspend(request_id)

    def _estimate_time(self, sent_at: int, stored_at: Timestamp, received_at: int) -> None:
        """Estimate the database's time, unless an older request manager responded."""
        if nanoseconds := get_nanoseconds(stored_at):
            self._clock.acknowledged(sent_at, nanoseconds, received_at)

    def _reconcile(self, response: coordination_pb2.HeartbeatResponse) -> bool:
        """Set what the next heartbeat lists; return whether it must follow immediately."""
        for chain in response.abandoned_chains:
            structlog.get_logger().error(
                "chain abandoned: its request has ended or moved",
                request_id=chain.request_id,
                epoch=chain.epoch,
            )
            self._chains.abandon(chain.request_id, chain.epoch)
        self._list_chains = response.list_chains
        self._expected = {chain.request_id: chain.epoch for chain in response.expected_chains}
        return self._list_chains or bool(self._expected)

    def _heartbeat(self) -> coordination_pb2.HeartbeatRequest:
        heartbeat = coordination_pb2.HeartbeatRequest(
            runner_id=self.runner_id,
            chains=self._chains.chains,
            jobs=self._chains.jobs,
            draining=self.draining,
            chains_digest=self._held.digest(),
        )
        if self._expected:
            held = self._held.epochs()
            heartbeat.missing_chains.SetInParent()
            for request_id, epoch in self._expected.items():
                if held.get(request_id, 0) < epoch:
                    heartbeat.missing_chains.chains.add(request_id=request_id, epoch=epoch)
        elif self._list_chains:
            heartbeat.held_chains.SetInParent()
            grants = self._held.grants()
            for request_id, epoch in self._held.epochs().items():
                grant = grants.get(request_id)
                heartbeat.held_chains.chains.add(
                    request_id=request_id,
                    epoch=epoch,
                    append_grant=encode_grant(grant) if grant is not None else None,
                )
        if oldest := self._oldest_unacknowledged():
            heartbeat.oldest_unacknowledged.FromTimedelta(timedelta(seconds=oldest))
        return heartbeat
