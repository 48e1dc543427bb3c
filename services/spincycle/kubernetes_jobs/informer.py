"""Local copy of a small collection of the API server, kept up to date by a watch."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from spincycle.kubernetes_jobs.errors import ApiRefused, ApiUnavailable
from spincycle.runtime.backoff import Backoff

if TYPE_CHECKING:
    from spincycle.kubernetes_jobs.api_session import ApiSession
    from spincycle.kubernetes_jobs.manifest import Manifest

WATCH_SECONDS = 120
"""Duration of one watch in seconds. Each new watch starts with a full list, which bounds how long
an event that was lost with a broken connection stays unnoticed."""

FIRST_RETRY = 0.25
LAST_RETRY = 10.0
"""Seconds before an server is called again: doubled from first to last."""

GONE = 410


class Informer:
    """Lists and watches the objects of a path; sets `changed` after each change.

    Attributes:
        synced: whether the objects were listed at least once.
        unavailable: status text while the server is unavailable; empty: it is available.
    """

    def __init__(
        self, api: ApiSession, path: str, query: dict[str, str], changed: asyncio.Event
    ) -> None:
        self._api = api
        self._path = path
        self._query = query
        self._changed = changed
        self._objects: dict[str, Manifest] = {}
        self._deleted: dict[str, Manifest] = {}
        self._backoff = Backoff(FIRST_RETRY, LAST_RETRY)
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
        now = asyncio.get_running_loop().time
        while True:
            began, retry_after = now(), 0.0
            try:
                await self._watch(await self._list())
            except ApiUnavailable as unavailable:
                self.unavailable = unavailable.status_text()
                self._changed.set()
                retry_after = unavailable.retry_after
            except ApiRefused as refused:
                if refused.status != GONE:
                    raise
            # Not after a list: a watch that is refused each time must be retried more slowly.
            if now() - began >= LAST_RETRY:
                self._backoff.reset()
            # Also after a watch that ended normally: the watches of all tries may end together.
            await self._backoff.wait(retry_after)

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
        await self._api.watch(self._path, query, WATCH_SECONDS + 15, self._apply)

    def _apply(self, event: Manifest) -> None:
        self._backoff.reset()
        resource = event["object"]
        match event["type"]:
            case "ADDED" | "MODIFIED":
                self._objects[resource["metadata"]["uid"]] = resource
                self._changed.set()
            case "DELETED":
                self._objects.pop(resource["metadata"]["uid"], None)
                self._deleted[resource["metadata"]["uid"]] = resource
                self._changed.set()
