"""A container's log, read to its end over however many connections that takes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from spincycle.kubernetes_jobs.api import Api, pods_path
from spincycle.kubernetes_jobs.errors import ApiRefused, ApiUnavailable
from spincycle.kubernetes_jobs.log_lines import LogLines
from spincycle.kubernetes_jobs.manifest import CONTAINER, Manifest
from spincycle.runtime.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable

SILENCE = 300.0
"""Seconds without output after which the log is asked for anew, in case nobody is there."""

CHUNK = 64 * 1024
FIRST_RETRY = 0.25
LAST_RETRY = 5.0


class PodLog:
    """Follows the log of one pod.

    Attributes:
        refused: why the log cannot be had; empty: it can.
    """

    def __init__(
        self, api: Api, namespace: str, pod: Manifest, sink: Callable[[bytes], None]
    ) -> None:
        self._api = api
        self._path = pods_path(namespace, pod["metadata"]["name"], "/log")
        self._lines = LogLines(sink)
        self._ended = asyncio.Event()
        self.refused = ""

    def container_ended(self) -> None:
        """The container has ended: what the server has of the log now is all there will be."""
        self._ended.set()

    async def follow(self) -> None:
        """Return when all of the log was read, or when the server has no more of it."""
        backoff = Backoff(FIRST_RETRY, LAST_RETRY)
        while True:
            last = self._ended.is_set()
            try:
                await self._read_one_stream()
            except ApiUnavailable:
                self._lines.cut()
            except ApiRefused as refused:
                if refused.status != 400:  # The container is about to begin.
                    self.refused = str(refused)
                    return
            else:
                if last:
                    self._lines.finish()
                    return
                self._lines.cut()
            # A stream that ended although the container runs is opened again, but not in a rush.
            wait = backoff.next()
            try:
                async with asyncio.timeout(wait):
                    await self._ended.wait()
                    if last:
                        await asyncio.sleep(wait)
            except TimeoutError:
                pass

    async def _read_one_stream(self) -> None:
        query = {"container": CONTAINER, "follow": "true", "timestamps": "true"}
        if self._lines.since:
            query["sinceTime"] = self._lines.since
        async with self._api.stream(self._path, query, SILENCE) as stream:
            while chunk := await stream.read(CHUNK):
                self._lines.feed(chunk)
                # A buffered stream never waits, and a flood must not keep the loop.
                await asyncio.sleep(0)
