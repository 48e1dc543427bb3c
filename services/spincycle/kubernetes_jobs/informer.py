"""What the API server has of one small collection, kept up to date by a watch."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from spincycle.kubernetes_jobs.errors import ApiRefused, ApiUnavailable
from spincycle.runtime.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import aiohttp

    from spincycle.kubernetes_jobs.api import Api
    from spincycle.kubernetes_jobs.manifest import Manifest

WATCH_SECONDS = 120
"""How long one watch goes on. With each new one everything is read anew, so that nothing that
a broken connection swallowed stays unknown for longer."""

FIRST_RETRY = 0.25
LAST_RETRY = 10.0
"""Seconds before a server that does not answer is asked again: doubled from first to last."""

GONE = 410


class Informer:
    """Objects by uid.

    Attributes:
        known: the objects were read at least once.
        away: why the server cannot be asked at the moment; empty: it can.
    """

    def __init__(self, api: Api, path: str, query: dict[str, str], changed: asyncio.Event) -> None:
        self._api = api
        self._path = path
        self._query = query
        self._changed = changed
        self._objects: dict[str, Manifest] = {}
        self._deleted: dict[str, Manifest] = {}
        self.known = False
        self.away = ""

    @property
    def objects(self) -> list[Manifest]:
        """What the server has, as far as is known."""
        return list(self._objects.values())

    def last(self, uid: str) -> Manifest | None:
        """An object as it is, or as it was when it was deleted."""
        return self._objects.get(uid) or self._deleted.get(uid)

    def has(self, uid: str) -> bool:
        """Whether the server has an object, as far as is known."""
        return uid in self._objects

    async def run(self) -> None:
        """Keep up to date until cancelled.

        Raises:
            Refused: the server will not tell.
        """
        backoff = Backoff(FIRST_RETRY, LAST_RETRY)
        while True:
            try:
                version = await self._read()
                backoff.reset()
                await self._watch(version)
            except ApiUnavailable as away:
                self.away = str(away)
                self._changed.set()
                await backoff.wait(away.pause)
            except ApiRefused as refused:
                if refused.status == GONE:
                    continue
                raise

    async def _read(self) -> str:
        found = await self._api.call("GET", self._path, self._query)
        self._objects = {item["metadata"]["uid"]: item for item in found.get("items") or ()}
        self.known = True
        self.away = ""
        self._changed.set()
        return str(found["metadata"].get("resourceVersion", ""))

    async def _watch(self, version: str) -> None:
        query = {
            **self._query,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        async with self._api.stream(self._path, query, WATCH_SECONDS + 15) as stream:
            async for line in _lines(stream):
                self._take(json.loads(line))

    def _take(self, event: Manifest) -> None:
        thing = event["object"]
        match event["type"]:
            case "ADDED" | "MODIFIED":
                self._objects[thing["metadata"]["uid"]] = thing
                self._changed.set()
            case "DELETED":
                self._objects.pop(thing["metadata"]["uid"], None)
                self._deleted[thing["metadata"]["uid"]] = thing
                self._changed.set()
            case "ERROR":
                raise ApiRefused(
                    int(thing.get("code", 500)), thing.get("reason", ""), thing.get("message", "")
                )


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in stream.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield line
