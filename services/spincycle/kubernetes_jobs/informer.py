"""Local copy of a small collection of the API server, kept up to date by a watch."""

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
"""Duration of one watch in seconds. Each new watch starts with a full list, which bounds how long
an event that was lost with a broken connection stays unnoticed."""

FIRST_RETRY = 0.25
LAST_RETRY = 10.0
"""Seconds before an unavailable server is called again: doubled from first to last."""

GONE = 410


class Informer:
    """Lists and watches the objects of a path; sets `changed` after each change.

    Attributes:
        synced: whether the objects were listed at least once.
        unavailable: why the server is currently unavailable; empty: it is available.
    """

    def __init__(self, api: Api, path: str, query: dict[str, str], changed: asyncio.Event) -> None:
        self._api = api
        self._path = path
        self._query = query
        self._changed = changed
        self._objects: dict[str, Manifest] = {}
        self._deleted: dict[str, Manifest] = {}
        self.synced = False
        self.unavailable = ""

    @property
    def objects(self) -> list[Manifest]:
        """The objects that currently exist."""
        return list(self._objects.values())

    def latest(self, uid: str) -> Manifest | None:
        """Return an object's current state, or its last state before its deletion."""
        return self._objects.get(uid) or self._deleted.get(uid)

    def has(self, uid: str) -> bool:
        """Return whether an object currently exists."""
        return uid in self._objects

    async def run(self) -> None:
        """Keep the copy up to date until cancelled.

        Raises:
            ApiRefused: the server rejects the list or the watch.
        """
        backoff = Backoff(FIRST_RETRY, LAST_RETRY)
        while True:
            try:
                version = await self._list()
                backoff.reset()
                await self._watch(version)
            except ApiUnavailable as unavailable:
                self.unavailable = str(unavailable)
                self._changed.set()
                await backoff.wait(unavailable.retry_after)
            except ApiRefused as refused:
                if refused.status == GONE:
                    continue
                raise

    async def _list(self) -> str:
        found = await self._api.call("GET", self._path, self._query)
        self._objects = {item["metadata"]["uid"]: item for item in found.get("items") or ()}
        self.synced = True
        self.unavailable = ""
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
                self._apply(json.loads(line))

    def _apply(self, event: Manifest) -> None:
        resource = event["object"]
        match event["type"]:
            case "ADDED" | "MODIFIED":
                self._objects[resource["metadata"]["uid"]] = resource
                self._changed.set()
            case "DELETED":
                self._objects.pop(resource["metadata"]["uid"], None)
                self._deleted[resource["metadata"]["uid"]] = resource
                self._changed.set()
            case "ERROR":
                raise ApiRefused(
                    int(resource.get("code", 500)),
                    resource.get("reason", ""),
                    resource.get("message", ""),
                )


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in stream.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield line
