"""Counts the gRPC calls that the services handle, by method, from their metrics.

Imports nothing outside the standard library: `tests.bench.older_harness` loads this file into the
harness of another commit.
"""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Mapping, Sequence

_TIMEOUT = 10.0
_SAMPLE = re.compile(
    r"^spincycle_grpc_calls_total\{(?P<labels>[^}]*)\} (?P<count>\S+)$", re.MULTILINE
)
_METHOD = re.compile(r'\bmethod="([^"]+)"')

_PER_TIME = frozenset({"Beat", "Heartbeat", "Register"})
"""Calls that runners make at fixed intervals and at their start."""

_OF_THE_HARNESS = frozenset({"List", "ListRequests"})
"""Calls by which the harness polls for the ends of requests: their number depends on the time that
requests take."""


def counts_per_request(method: str) -> bool:
    """Whether a method, such as "spincycle.v1.JobLogService/Append", counts per request.

    Methods are recognized by their last part, since packages and services are renamed between
    commits. Health, reflection and channelz are not counted by the services in the first place.
    """
    return method.rpartition("/")[2] not in _PER_TIME | _OF_THE_HARNESS


class RpcCounter:
    """Counts the calls that ended between `begin` and `end`.

    A stream counts once, when it ends: one that stays open for the whole run, such as Append or
    WatchJobs, does not count at all. Reading the metrics makes the request manager query its
    database, so read them before statements are counted and after.

    Args:
        addresses: host:port of the metrics of each service.
    """

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = addresses
        self._before: Counter[str] = Counter()

    async def begin(self) -> None:
        """Start to count.

        Raises:
            OSError: a service does not serve metrics.
            TimeoutError: a service did not return its metrics in time.
        """
        self._before = await self._read()

    async def end(self) -> dict[str, int]:
        """Return the calls by method; methods that were not called are left out.

        Raises:
            OSError: a service does not serve metrics.
            TimeoutError: a service did not return its metrics in time.
        """
        return dict(await self._read() - self._before)

    async def _read(self) -> Counter[str]:
        calls: Counter[str] = Counter()
        for text in await asyncio.gather(*map(_scrape, self._addresses)):
            calls.update(read_calls(text))
        return calls


def read_calls(text: str) -> Mapping[str, int]:
    """Return the calls by method, all status codes together, from a Prometheus text page."""
    calls: Counter[str] = Counter()
    for sample in _SAMPLE.finditer(text):
        if method := _METHOD.search(sample["labels"]):
            calls[method[1]] += int(float(sample["count"]))
    return calls


async def _scrape(address: str) -> str:
    host, _, port = address.rpartition(":")
    async with asyncio.timeout(_TIMEOUT):
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            head = f"GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
            writer.write(head.encode())
            return (await reader.read()).decode()
        finally:
            writer.close()
