from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Set as AbstractSet
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import grpc
import pytest
from tests.chaos.cluster import Cluster, Shape
from tests.chaos.load import Load
from tests.chaos.storm import Storm
from tests.integration.streams.follower import RETRYABLE, Follower, check_order, following, report
from tests.integration.streams.journal import journal

from spincycle.model.revision import parts_of
from spincycle.model.state import FINAL, State
from spincycle.request_manager.watch.filter_subscription import MAX_REPLAY_BYTES
from spincycle.request_manager.watch.shared_snapshots import CACHE_BYTES
from spincycle.request_manager.watch.subscriber_queue import MAX_BEHIND
from spincycle.rpc.channel import open_channel
from spincycle.v1 import request_event_pb2
from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub

KILLS = 25
WATCHED = 20

RESTART_CLIENTS = 50
RESTART_REQUESTS = 2000

EVENT_BYTES = 4 * 1024
"""Most bytes of a queued event, including its request."""

REQUEST_BYTES = 16 * 1024
"""Most bytes of a request that is tracked, and of its row in a replay."""


@pytest.mark.chaos
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", [1])
async def test_clients_miss_and_repeat_nothing_while_everything_is_killed_at_random(
    cluster: Cluster, load: Load, seed: int
) -> None:
    storm = Storm(cluster, load)
    draw = random.Random(seed)
    watched: dict[str, Follower] = {}

    async def watch(stack: AsyncExitStack) -> None:
        while len(watched) < WATCHED:
            await asyncio.sleep(0.5)
            for request_id in load.acknowledged.keys() - watched.keys():
                stream = following(cluster.request_manager, request_ids=[request_id])
                watched[request_id] = await stack.enter_async_context(stream)

    async def disconnect(every: list[Follower]) -> None:
        while True:
            await asyncio.sleep(draw.uniform(0.2, 1.0))
            for follower in draw.sample(every + list(watched.values()), 1):
                follower.disconnect()

    async with AsyncExitStack() as stack:
        by_filter = await stack.enter_async_context(following(cluster.request_manager))
        await by_filter.until_resumable()
        watching = asyncio.create_task(watch(stack))
        disconnecting = asyncio.create_task(disconnect([by_filter]))
        await storm.blow(lambda: storm.kill_at_random(KILLS, seed, (0.5, 2.0)), rate=2, ms=200)
        for task in (watching, disconnecting):
            task.cancel()
        await asyncio.gather(watching, disconnecting, return_exceptions=True)
        for request_id, follower in watched.items():
            await follower.until_ended(request_id)
        with suppress(TimeoutError):
            await by_filter.until(lambda: all(map(by_filter.has_ended, load.acknowledged)))

    for request_id in load.acknowledged:
        assert by_filter.has_ended(request_id), report(by_filter, request_id)

    check_order(by_filter, repeated_snapshots=True)
    for follower in watched.values():
        check_order(follower)
    for request_id, follower in watched.items():
        # Tries that had ended at the first snapshot are in it.
        known = parts_of(int(follower.events[0].revision)).position
        entries = await journal(cluster, request_id)
        assert follower.ends_of_tries(request_id, entries) == entries[known:], report(
            follower, request_id
        )
    print(
        f"{len(load.acknowledged)} requests, {len(watched)} of them watched by name, "
        f"{sum(f.connections for f in watched.values()) + by_filter.connections} connections, "
        f"{len(by_filter.events)} events of all, {dict(storm.kills)}"
    )


class Ends:
    """A client of all requests that resumes from its cursor and keeps only final states."""

    def __init__(self, address: str, cursor: str) -> None:
        self._channel = open_channel(address)
        self._request = rpc.WatchRequest(cursor=cursor)
        self._revisions: dict[str, str] = {}
        self.states: dict[str, list[State]] = {}
        self.wrong: list[str] = []
        self.connections = 0

    async def run(self, request_ids: AbstractSet[str]) -> None:
        """Watch until all of these requests have ended."""
        while request_ids - self.states.keys():
            self.connections += 1
            call = RequestManagerServiceStub(self._channel).Watch(self._request)
            try:
                async for response in call:
                    for event in response.events:
                        self._take(event)
                    self._request.cursor = response.cursor or self._request.cursor
                    if not request_ids - self.states.keys():
                        break
            except grpc.aio.AioRpcError as failure:
                if failure.code() not in RETRYABLE:
                    raise
            finally:
                call.cancel()
            await asyncio.sleep(0.02)
        await self._channel.close()

    def _take(self, event: request_event_pb2.RequestEvent) -> None:
        rises = event.revision > self._revisions.get(event.request_id, "")
        if not rises:
            # Cursors do not include a runner that died: snapshots of its requests are repeated.
            if not event.HasField("snapshot"):
                self.wrong.append(f"{event.request_id} was repeated at {event.revision}")
            return
        self._revisions[event.request_id] = event.revision
        if not event.HasField("job"):
            request = event.request if event.HasField("request") else event.snapshot.request
            if (state := State(request.state)) in FINAL:
                self.states.setdefault(event.request_id, []).append(state)


def peak_bytes(pid: int) -> int:
    """The most memory that a process has held."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (one for one in status.splitlines() if one.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


@pytest.mark.chaos
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "shape", [Shape(settings={"RM": {"BEAT_INTERVAL": "0.3", "SILENCE_LIMIT": "2"}})]
)
async def test_many_clients_resume_after_everything_was_restarted(
    cluster: Cluster, load: Load
) -> None:
    unwatched = max(peak_bytes(member.pid) for member in cluster.request_managers)
    async with following(cluster.request_manager) as follower:
        await follower.until(lambda: bool(follower.cursor))
        cursor = follower.cursor
    waiting = iter(range(RESTART_REQUESTS))

    async def create() -> None:
        for number in waiting:
            # The first half has ended by the restart; the second one has begun, and runs again.
            await load.create("sleeping", 1 if number < RESTART_REQUESTS // 2 else 10_000)

    clients = [Ends(cluster.request_manager, cursor) for _ in range(RESTART_CLIENTS)]
    expected: set[str] = set()
    await asyncio.gather(*(create() for _ in range(32)))
    expected = set(load.acknowledged)
    tasks = [asyncio.create_task(client.run(expected)) for client in clients]
    for member in cluster.members:
        await member.kill()
    for member in cluster.members:
        member.start()
    began = time.monotonic()
    await asyncio.gather(*tasks)
    took = time.monotonic() - began

    connection = await cluster.connect()
    stored = await connection.fetch("SELECT request_id, state FROM request_manager.requests")
    await connection.close()
    states = {row["request_id"]: [State(row["state"])] for row in stored}
    for client in clients:
        assert client.wrong == []
        assert client.states == states
    peak = max(peak_bytes(member.pid) for member in cluster.request_managers)
    print(
        f"{len(states)} requests, {len(clients)} clients, {took:.1f} s from the restart on, "
        f"{sum(client.connections for client in clients)} connections, request managers "
        f"{unwatched / 1e6:.0f} MB unwatched, {peak / 1e6:.0f} MB at most"
    )
    shared = CACHE_BYTES + MAX_BEHIND * EVENT_BYTES + RESTART_REQUESTS * REQUEST_BYTES
    assert peak < unwatched + shared + RESTART_CLIENTS * 2 * MAX_REPLAY_BYTES
