"""Clients of every kind that observe requests: streams and calls, over gRPC and over HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from tests.chaos.cluster import Cluster
from tests.chaos.http_clients import HttpCaller, HttpWatcher, watching
from tests.integration.streams.follower import Follower, check_order, following

NEVER = 60.0
"""Seconds after which something that has not come about counts as stuck."""

EACH = 4
"""Clients of each kind, so that one of them has to do with each copy of a service."""


class Observers:
    """Watchers of all requests, and callers; each uses another copy if one does not respond."""

    def __init__(
        self, followers: list[Follower], watchers: list[HttpWatcher], callers: list[HttpCaller]
    ) -> None:
        self._followers = followers
        self._watchers = watchers
        self._callers = callers

    async def until_end_is_known(self, request_id: str) -> dict[str, float]:
        """Wait until every client has received the end of a request; return the longest waits."""
        conditions: list[tuple[str, Callable[[], Awaitable[bool] | bool]]] = []
        for follower, watcher, caller in zip(
            self._followers, self._watchers, self._callers, strict=True
        ):
            conditions += [
                ("Watch", partial(follower.has_ended, request_id)),
                ("HTTP events", partial(watcher.has_received_end, request_id)),
                ("HTTP calls", partial(caller.has_ended, request_id)),
            ]
        waits: dict[str, float] = {}
        seconds = await asyncio.gather(*(_seconds_until(holds) for _, holds in conditions))
        for (kind, _), waited in zip(conditions, seconds, strict=True):
            waits[kind] = max(waited, waits.get(kind, 0.0))
        return waits

    def has_missed(self, request_id: str) -> bool:
        """Whether a watcher has not received the end of a request."""
        received = [follower.has_ended(request_id) for follower in self._followers]
        received += [watcher.has_received_end(request_id) for watcher in self._watchers]
        return not all(received)

    def check_order(self) -> None:
        """Check that nothing but snapshots was received twice."""
        for follower in self._followers:
            check_order(follower, repeated_snapshots=True)
        for watcher in self._watchers:
            assert watcher.repeated == [], watcher.repeated

    def connections(self) -> int:
        """Return the number of streams opened."""
        return sum(follower.connections for follower in self._followers) + sum(
            watcher.connections for watcher in self._watchers
        )


@asynccontextmanager
async def observing(cluster: Cluster) -> AsyncIterator[Observers]:
    """Running observers."""
    gateways = [f"http://{gateway.service.address}" for gateway in cluster.gateways]
    orders = [gateways[number % 2 :] + gateways[: number % 2] for number in range(EACH)]
    async with AsyncExitStack() as stack:
        followers, watchers, callers = [], [], []
        for order in orders:
            follower = await stack.enter_async_context(following(cluster.request_manager))
            # A stream of all requests can be taken up again once it has a cursor.
            await follower.until_resumable()
            followers.append(follower)
            watchers.append(await stack.enter_async_context(watching(order)))
            callers.append(HttpCaller(order))
            stack.push_async_callback(callers[-1].close)
        yield Observers(followers, watchers, callers)


async def _seconds_until(condition: Callable[[], Awaitable[bool] | bool]) -> float:
    began = time.monotonic()
    async with asyncio.timeout(NEVER):
        while True:
            holds = condition()
            if holds if isinstance(holds, bool) else await holds:
                return time.monotonic() - began
            await asyncio.sleep(0.1)
