"""Being known to the request managers: registering, and a beat for all chains at once."""

from __future__ import annotations

import asyncio
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
from spincycle.job_runner.held_chains import HeldChains
from spincycle.job_runner.lease import Lease
from spincycle.model.request_id import RequestIds
from spincycle.rpc.channel import Dial, open_channel
from spincycle.rpc.status import from_rpc_error
from spincycle.runtime.backoff import Backoff
from spincycle.runtime.version import VERSION
from spincycle.runtime.watchdog import Watchdog
from spincycle.wire.times import get_nanoseconds

TIMEOUT = 3.0
"""Seconds for one call."""

RETRY_INTERVAL = 0.5
"""Maximum seconds before a failed call is retried."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a runner says of itself at boot; limits of 0 mean none."""

    address: str
    max_chains: int
    max_jobs: int
    job_types: tuple[str, ...]
    features: tuple[str, ...] = ()


class Chains(Protocol):
    """What a beat tells of the chains, and what it can bring."""

    @property
    def chains(self) -> int: ...

    @property
    def jobs(self) -> int: ...

    def stop(self, request_id: str, reason: str) -> bool: ...

    def suspend(self, request_id: str) -> bool: ...

    def abandon(self, request_id: str, epoch: int) -> None: ...

    def abandon_all(self) -> None: ...


class RunnerPresence:
    """Registers, beats, and registers anew when the runner was given up."""

    def __init__(
        self,
        request_manager: str,
        identity: Identity,
        chains: Chains,
        held: HeldChains,
        oldest_unacknowledged: Callable[[], float],
        lease: Lease,
        clock: DatabaseClock,
        dial: Dial = open_channel,
    ) -> None:
        self._address = request_manager
        self._identity = identity
        self._chains = chains
        self._held = held
        self._list_held = False
        self._expected: dict[str, int] = {}
        self._oldest_unacknowledged = oldest_unacknowledged
        self._lease = lease
        self._clock = clock
        self._channel = dial(request_manager)
        self._stub = RunnerCoordinationServiceStub(self._channel)
        self._ids = RequestIds()
        self.runner_id = self._ids.new()
        self.known = False
        self.draining = False
        self._leaving = False
        self._interval = 2.0
        self._silence_limit = 8.0
        self._answered_at = float("-inf")
        self.pulse = Watchdog()

    def is_heard(self) -> bool:
        """Whether this runner is known and hardly more than one beat of it went unanswered."""
        silence = asyncio.get_running_loop().time() - self._answered_at
        return self.known and silence < 2 * self._interval + 1

    async def run(self) -> None:
        """Be present until cancelled, or until this runner has left."""
        self.pulse.start()
        while True:
            await self._register()
            await self._beat_until_given_up()
            self._lease.end()
            self.known = False
            if self._leaving:
                return
            structlog.get_logger().error(
                "given up by the request manager", runner_id=self.runner_id
            )
            self._chains.abandon_all()
            self._list_held, self._expected = False, {}
            self.runner_id = self._ids.new()

    async def leave(self) -> None:
        """Say that this runner ends; its chains, if any are left, are then taken over."""
        self._leaving = True
        beat = self._sign_of_life(0.0)
        beat.leaving = True
        try:
            await self._stub.Heartbeat(beat, timeout=TIMEOUT)
        except grpc.aio.AioRpcError as failure:
            structlog.get_logger().warning("left without a word", cause=failure.details())

    async def close(self) -> None:
        """Close the channel."""
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
        told = False
        backoff = Backoff(RETRY_INTERVAL, RETRY_INTERVAL)
        while True:
            asked_at, sent_at = self._lease.now(), self._clock.monotonic()
            try:
                response = await self._stub.Register(request, timeout=TIMEOUT)
            except grpc.aio.AioRpcError as failure:
                if not told:
                    structlog.get_logger().warning(
                        "cannot register yet",
                        request_manager=self._address,
                        cause=failure.details(),
                    )
                told = True
                self.pulse.tick()
                await backoff.wait()
                continue
            self._note_time(sent_at, response.stored_at)
            self._interval = response.beat_interval.ToTimedelta().total_seconds()
            self._silence_limit = response.silence_limit.ToTimedelta().total_seconds()
            self._lease.renew(asked_at, self._silence_limit)
            self._answered_at = asyncio.get_running_loop().time()
            self.known = True
            structlog.get_logger().info("registered", runner_id=self.runner_id)
            return

    async def _beat_until_given_up(self) -> None:
        loop = asyncio.get_running_loop()
        wait = self._interval
        backoff = Backoff(RETRY_INTERVAL, RETRY_INTERVAL)
        while True:
            asleep = loop.time()
            self.pulse.idle()
            await asyncio.sleep(wait)
            self.pulse.start()
            lag = max(0.0, loop.time() - asleep - wait)
            beaten_at, sent_at = self._lease.now(), self._clock.monotonic()
            try:
                wishes = await self._stub.Heartbeat(self._sign_of_life(lag), timeout=TIMEOUT)
            except grpc.aio.AioRpcError as failure:
                error = from_rpc_error(failure, "request manager", self._address)
                if error.reason == "RUNNER_UNKNOWN":
                    return
                structlog.get_logger().warning("beat not answered", why=error.message)
                # Soon again: the next one goes to another request manager, if there is one.
                wait = min(backoff.next(), self._interval)
                continue
            self._note_time(sent_at, wishes.stored_at)
            self._lease.renew(beaten_at, self._silence_limit)
            self._answered_at = loop.time()
            wait = 0.0 if self._reconcile(wishes) else self._interval
            for request_id in wishes.stop_request_ids:
                self._chains.stop(request_id, "")
            for request_id in wishes.suspend_request_ids:
                self._chains.suspend(request_id)

    def _note_time(self, sent_at: int, stored_at: Timestamp) -> None:
        """Note the database's time, unless an older request manager responded."""
        if nanoseconds := get_nanoseconds(stored_at):
            self._clock.answered(sent_at, nanoseconds)

    def _reconcile(self, response: coordination_pb2.HeartbeatResponse) -> bool:
        """Note what the next heartbeat lists; return whether it follows at once."""
        for chain in response.abandoned_chains:
            structlog.get_logger().error(
                "chain abandoned: its request has ended or is elsewhere",
                request_id=chain.request_id,
                epoch=chain.epoch,
            )
            self._chains.abandon(chain.request_id, chain.epoch)
        self._list_held = response.list_chains
        self._expected = {chain.request_id: chain.epoch for chain in response.expected_chains}
        return self._list_held or bool(self._expected)

    def _sign_of_life(self, lag: float) -> coordination_pb2.HeartbeatRequest:
        beat = coordination_pb2.HeartbeatRequest(
            runner_id=self.runner_id,
            chains=self._chains.chains,
            jobs=self._chains.jobs,
            draining=self.draining,
            chains_digest=self._held.digest(),
        )
        if self._expected:
            held = self._held.epochs()
            beat.missing_chains.SetInParent()
            for request_id, epoch in self._expected.items():
                if held.get(request_id, 0) < epoch:
                    beat.missing_chains.chains.add(request_id=request_id, epoch=epoch)
        elif self._list_held:
            beat.held_chains.SetInParent()
            for request_id, epoch in self._held.epochs().items():
                beat.held_chains.chains.add(request_id=request_id, epoch=epoch)
        beat.loop_lag.FromTimedelta(timedelta(seconds=lag))
        if oldest := self._oldest_unacknowledged():
            beat.oldest_unacknowledged.FromTimedelta(timedelta(seconds=oldest))
        return beat
