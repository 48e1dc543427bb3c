"""HTTP clients that go to the next gateway when one does not answer."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx

from spincycle.model.state import FINAL, State

SILENCE = 20.0
"""Seconds without a byte after which an event stream is dead: gateways send one each 15."""

ANSWER = 5.0
"""Seconds that a gateway has to answer a call."""


class HttpWatcher:
    """Follows the events of all requests over as many connections as it takes."""

    def __init__(self, gateways: Sequence[str]) -> None:
        self._gateways = itertools.cycle(gateways)
        self._cursor = ""
        self._revisions: dict[str, int] = {}
        self._streams: dict[str, int] = {}
        self._ended: set[str] = set()
        self.connections = 0
        self.repeated: list[str] = []

    def has_received_end(self, request_id: str) -> bool:
        """Whether the end of a request was received."""
        return request_id in self._ended

    async def run(self) -> None:
        """Follow until cancelled."""
        timeout = httpx.Timeout(ANSWER, read=SILENCE)
        while True:
            headers = {"Last-Event-ID": self._cursor} if self._cursor else {}
            url = f"{next(self._gateways)}/api/v1/events"
            self.connections += 1
            try:
                async with (
                    httpx.AsyncClient(timeout=timeout) as client,
                    client.stream("GET", url, headers=headers) as response,
                ):
                    if response.status_code == httpx.codes.OK:
                        await self._take(response)
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.1)

    async def _take(self, response: httpx.Response) -> None:
        event: dict[str, str] = {}
        async for line in response.aiter_lines():
            name, _, value = line.partition(": ")
            if line:
                event[name] = value
                continue
            if event.get("event") in {"snapshot", "request", "job"}:
                self._note(json.loads(event["data"]), snapshot=event["event"] == "snapshot")
            self._cursor = event.get("id") or self._cursor
            event = {}

    def _note(self, event: dict[str, Any], *, snapshot: bool) -> None:
        request_id, revision = event["requestId"], event["revision"]
        known = self._revisions.get(request_id, 0)
        if revision > known:
            self._revisions[request_id] = revision
            self._streams[request_id] = self.connections
        elif not snapshot:
            self.repeated.append(
                f"{request_id}: revision {revision} in stream {self.connections} after {known} in "
                f"stream {self._streams[request_id]}"
            )
        request = event.get("request") or event.get("snapshot", {}).get("request") or {}
        if State(request.get("state", 0)) in FINAL:
            self._ended.add(request_id)


class HttpCaller:
    """Calls one gateway, and the next one if it does not answer."""

    def __init__(self, gateways: Sequence[str]) -> None:
        self._gateways: Iterator[str] = itertools.cycle(gateways)
        self._gateway = next(self._gateways)
        self._client = httpx.AsyncClient(timeout=ANSWER)

    async def get(self, path: str) -> httpx.Response:
        """The first answer that is not a failure of a gateway or of what is behind it."""
        while True:
            try:
                response = await self._client.get(self._gateway + path)
            except httpx.TransportError:
                self._gateway = next(self._gateways)
                continue
            if response.status_code < httpx.codes.INTERNAL_SERVER_ERROR:
                return response
            await asyncio.sleep(0.2)

    async def has_ended(self, request_id: str) -> bool:
        """Whether a request is final."""
        response = await self.get(f"/api/v1/requests/{request_id}")
        return State(response.json()["state"]) in FINAL

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()


@asynccontextmanager
async def watching(gateways: Sequence[str]) -> AsyncIterator[HttpWatcher]:
    """A watcher at work."""
    watcher = HttpWatcher(gateways)
    task = asyncio.create_task(watcher.run())
    try:
        yield watcher
    finally:
        task.cancel()
        results = await asyncio.gather(task, return_exceptions=True)
    for result in results:
        if isinstance(result, Exception):
            raise result
