"""Heartbeats while the event loop is blocked, to a server that does not need this loop."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from grpc_status import rpc_status
from tests.waiting import until

from spincycle.errors import RunnerUnknown
from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.job_runner.database_clock import DatabaseClock
from spincycle.job_runner.heartbeat_thread import (
    HEARTBEAT,
    Acknowledgement,
    HeartbeatThread,
    HeartbeatTimes,
    LoopState,
    heartbeat_call,
)
from spincycle.job_runner.lease import Lease
from spincycle.rpc.channel import open_blocking_channel
from spincycle.rpc.status import to_status

LIMIT = 60.0

Heartbeat = coordination_pb2.HeartbeatRequest
Response = coordination_pb2.HeartbeatResponse


class Server(grpc.GenericRpcHandler):
    """Puts heartbeats into a queue, and refuses them once `evicted`."""

    def __init__(self) -> None:
        self.received: queue.Queue[Heartbeat] = queue.Queue()
        self.response = Response()
        self.evicted = False

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        if details.method != HEARTBEAT:
            return None
        return grpc.unary_unary_rpc_method_handler(
            self._heartbeat, Heartbeat.FromString, Response.SerializeToString
        )

    def _heartbeat(self, request: Heartbeat, context: grpc.ServicerContext) -> Response:
        self.received.put(request)
        if self.evicted:
            status = rpc_status.to_status(to_status(RunnerUnknown(request.runner_id)))
            context.abort_with_status(status)
        return self.response

    def next(self) -> Heartbeat:
        """Return the next heartbeat that is received from now on; blocks."""
        while not self.received.empty():
            self.received.get()
        return self.received.get(timeout=30)


class Runner:
    """The event loop's side."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.lag = 0.0
        self.lease = Lease()
        self.snapshot = Heartbeat(runner_id="runner", chains=3)
        self.failure: Exception | None = None
        self.handled: list[Acknowledgement] = []
        self.thread = HeartbeatThread(
            heartbeat_call(channel),
            "here",
            HeartbeatTimes(interval=0.01, silence_timeout=3600.0),
            LoopState(self._describe, self.handled.append, lambda: self.lag, LIMIT),
            self.lease,
            DatabaseClock(),
        )

    def _describe(self) -> Heartbeat:
        assert threading.current_thread() is threading.main_thread()
        if self.failure is not None:
            raise self.failure
        return self.snapshot


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def channel(server: Server) -> Iterator[grpc.Channel]:
    serving = grpc.server(ThreadPoolExecutor(2))
    serving.add_generic_rpc_handlers((server,))
    port = serving.add_insecure_port("127.0.0.1:0")
    serving.start()
    with open_blocking_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    serving.stop(None).wait(30)


@pytest.fixture
async def runner(channel: grpc.Channel) -> AsyncIterator[Runner]:
    runner = Runner(channel)
    runner.thread.start()
    yield runner
    runner.thread.stop()
    await runner.thread.ended


async def test_heartbeats_continue_and_renew_the_lease_while_the_loop_is_blocked(
    server: Server, runner: Runner
) -> None:
    await until(lambda: runner.handled)
    runner.snapshot.oldest_unacknowledged.FromSeconds(5)
    runner.snapshot.held_chains.SetInParent()
    runner.snapshot.missing_chains.SetInParent()
    await until(lambda: server.received.get(timeout=30).HasField("held_chains"))
    runner.lag = 1.5
    runner.lease.revoke()
    handled = len(runner.handled)

    # From here on the loop is blocked.
    heartbeat = server.next()
    while heartbeat.HasField("held_chains"):
        heartbeat = server.next()
    following = server.next()
    block_until(runner.lease.holds)

    assert heartbeat.chains == 3
    assert heartbeat.loop_lag.ToMilliseconds() == 1500
    assert not heartbeat.HasField("missing_chains")
    ages = [each.oldest_unacknowledged.ToNanoseconds() for each in (heartbeat, following)]
    assert 5e9 < ages[0] < ages[1]
    assert len(runner.handled) == handled
    await until(lambda: len(runner.handled) >= handled + 2)


def block_until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.001)


async def test_a_renewed_lease_is_announced_on_the_loop(server: Server, runner: Runner) -> None:
    threads: list[threading.Thread] = []
    runner.lease.on_renewal(lambda: threads.append(threading.current_thread()))
    await until(runner.lease.holds)
    runner.lease.revoke()

    await until(lambda: threads)

    assert set(threads) == {threading.main_thread()}


async def test_no_heartbeat_is_sent_while_the_lag_has_reached_the_limit(
    server: Server, runner: Runner
) -> None:
    await until(lambda: runner.handled)
    described = 0

    def describe() -> float:
        nonlocal described
        described += 1
        return LIMIT

    runner.thread._state = LoopState(runner._describe, runner.handled.append, describe, LIMIT)
    await until(lambda: described >= 2)
    while not server.received.empty():
        server.received.get()
    at_limit = described
    await until(lambda: described >= at_limit + 3)

    assert server.received.empty()


async def test_an_eviction_ends_the_thread_and_the_lease(server: Server, runner: Runner) -> None:
    await until(runner.lease.holds)
    server.evicted = True

    await runner.thread.ended

    assert not runner.lease.holds()


async def test_a_snapshot_that_fails_fails_the_thread(server: Server, runner: Runner) -> None:
    await until(lambda: runner.handled)
    runner.failure = ValueError("as the test says")

    with pytest.raises(ValueError, match="as the test says"):
        await runner.thread.ended
    runner.thread.ended = asyncio.get_running_loop().create_future()
    runner.thread.ended.set_result(None)
