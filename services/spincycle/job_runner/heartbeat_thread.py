"""Sends heartbeats on a thread, whatever the event loop does."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import grpc
import structlog

from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.job_runner.database_clock import DatabaseClock
from spincycle.job_runner.lease import Lease
from spincycle.rpc.identified_channel import BlockingChannel
from spincycle.rpc.status import from_rpc_error
from spincycle.runtime.backoff import Backoff

HEARTBEAT = "/spincycle.internal.v1.RunnerCoordinationService/Heartbeat"

TIMEOUT = 3.0
"""Seconds for one call."""

RETRY_INTERVAL = 0.5
"""Maximum seconds before a failed call is retried."""

SNAPSHOT_TIMEOUT = 0.5
"""Seconds for the event loop to describe the runner; after that the last snapshot is sent."""


@dataclass(frozen=True, slots=True)
class HeartbeatTimes:
    """Times of the heartbeats of one registration, in seconds."""

    interval: float
    silence_timeout: float


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """Response to a heartbeat.

    Attributes:
        sent_at, received_at: nanoseconds of the monotonic clock.
        received: time of the lease, in seconds.
    """

    response: coordination_pb2.HeartbeatResponse
    sent_at: int
    received_at: int
    received: float


class HeartbeatCall(Protocol):
    """Sends a heartbeat and blocks until the response."""

    def __call__(
        self, request: coordination_pb2.HeartbeatRequest, *, timeout: float
    ) -> coordination_pb2.HeartbeatResponse: ...


def heartbeat_call(channel: BlockingChannel) -> HeartbeatCall:
    """Return the call over a channel; the generated stubs are typed for the event loop only."""
    call: HeartbeatCall = channel.unary_unary(
        HEARTBEAT,
        coordination_pb2.HeartbeatRequest.SerializeToString,
        coordination_pb2.HeartbeatResponse.FromString,
    )
    return call


@dataclass(frozen=True, slots=True)
class LoopState:
    """Functions by which the thread reads the event loop and reports to it.

    Attributes:
        snapshot: describes the runner; called on the event loop.
        acknowledged: handles a response; called on the event loop, in order.
        lag: returns the seconds by which the loop is late; called on the thread.
        max_lag: seconds of lag from which no heartbeat is sent: a runner whose loop is blocked for
            longer must lose its requests.
    """

    snapshot: Callable[[], coordination_pb2.HeartbeatRequest]
    acknowledged: Callable[[Acknowledgement], None]
    lag: Callable[[], float]
    max_lag: float


class HeartbeatThread:
    """Sends heartbeats from registration to eviction and renews the lease.

    The event loop describes the runner for each heartbeat. While it is blocked the thread repeats
    the last snapshot, which stays true, since the loop can neither accept nor end a chain: only
    its lists of chains, which are sent once, are left out, and the age of the oldest entry grows.

    Create it on the event loop.

    Attributes:
        ended: done when the runner was evicted or `stop` was called; fails if the thread did.
    """

    def __init__(
        self,
        call: HeartbeatCall,
        address: str,
        times: HeartbeatTimes,
        state: LoopState,
        lease: Lease,
        clock: DatabaseClock,
    ) -> None:
        self._call = call
        self._address = address
        self._times = times
        self._state = state
        self._lease = lease
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._published = threading.Event()
        self._snapshot: coordination_pb2.HeartbeatRequest | Exception = state.snapshot()
        self._described_at = lease.now()
        self._due = threading.Event()
        self._stopped = False
        self.ended: asyncio.Future[None] = self._loop.create_future()

    def start(self) -> None:
        """Start the thread."""
        context = contextvars.copy_context()
        threading.Thread(
            target=context.run, args=(self._run,), name="heartbeats", daemon=True
        ).start()

    def send_now(self) -> None:
        """Send the next heartbeat without waiting for the interval."""
        self._due.set()

    def stop(self) -> None:
        """Send no more heartbeats; a call in flight ends with its channel or its timeout."""
        self._stopped = True
        self._due.set()

    def _run(self) -> None:
        failure: Exception | None = None
        try:
            self._send_until_evicted()
        except Exception as error:  # noqa: BLE001 # raised where `ended` is awaited
            failure = error
        self._post(self._end, failure)

    def _end(self, failure: Exception | None) -> None:
        if self.ended.done():
            return
        if failure is None or self._stopped:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(failure)

    def _send_until_evicted(self) -> None:
        wait = self._times.interval
        backoff = Backoff(RETRY_INTERVAL, RETRY_INTERVAL)
        while True:
            self._due.wait(wait)
            self._due.clear()
            if self._stopped:
                return
            wait = self._times.interval
            heartbeat = self._heartbeat()
            if heartbeat is None:
                continue
            lease_time, sent_at = self._lease.now(), self._clock.monotonic()
            try:
                response = self._call(heartbeat, timeout=TIMEOUT)
            except grpc.RpcError as failure:
                if self._stopped:
                    return
                # The stubs lack that it is a call, too.
                error = from_rpc_error(failure, "request manager", self._address)  # type: ignore[arg-type] # grpc.Call
                if error.reason == "RUNNER_UNKNOWN":
                    self._lease.revoke()
                    return
                structlog.get_logger().warning("heartbeat failed", cause=error.message)
                # Retry soon: the next call goes to another request manager, if there is one.
                wait = min(backoff.next(), self._times.interval)
                continue
            if self._lease.extend(lease_time, self._times.silence_timeout):
                self._post(self._lease.announce)
            self._post(
                self._state.acknowledged,
                Acknowledgement(response, sent_at, self._clock.monotonic(), self._lease.now()),
            )

    def _heartbeat(self) -> coordination_pb2.HeartbeatRequest | None:
        """Return the next heartbeat; None if the event loop is blocked for too long."""
        self._published.clear()
        self._post(self._publish)
        is_current = self._published.wait(SNAPSHOT_TIMEOUT)
        lag = self._state.lag()
        if lag >= self._state.max_lag:
            return None
        snapshot = self._snapshot
        if isinstance(snapshot, Exception):
            raise snapshot
        heartbeat = coordination_pb2.HeartbeatRequest()
        heartbeat.CopyFrom(snapshot)
        if not is_current:
            heartbeat.ClearField("held_chains")
            heartbeat.ClearField("missing_chains")
            if heartbeat.HasField("oldest_unacknowledged"):
                age = heartbeat.oldest_unacknowledged.ToTimedelta().total_seconds()
                age += self._lease.now() - self._described_at
                heartbeat.oldest_unacknowledged.FromTimedelta(timedelta(seconds=age))
        heartbeat.loop_lag.FromTimedelta(timedelta(seconds=lag))
        return heartbeat

    def _publish(self) -> None:
        try:
            self._snapshot = self._state.snapshot()
        except Exception as error:  # noqa: BLE001 # raised on the thread, and from `ended`
            self._snapshot = error
        self._described_at = self._lease.now()
        self._published.set()

    def _post(self, call: Callable[..., object], *arguments: object) -> None:
        with suppress(RuntimeError):  # The loop is closed: nothing needs the call.
            self._loop.call_soon_threadsafe(call, *arguments)
