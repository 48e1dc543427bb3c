"""Follows a container's log to its end, reconnecting as needed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from spincycle.kubernetes_jobs.api import pods_path
from spincycle.kubernetes_jobs.errors import ApiRefused, ApiRefusing, ApiUnavailable
from spincycle.kubernetes_jobs.log_lines import LogLines
from spincycle.kubernetes_jobs.manifest import CONTAINER, Manifest
from spincycle.runtime.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import Callable

    from spincycle.kubernetes_jobs.api_session import ApiSession

SILENCE = 300.0
"""Seconds without output after which the log is requested again, in case the server is gone."""

CHUNK = 64 * 1024
FIRST_RETRY = 0.25
LAST_RETRY = 5.0


class PodLog:
    """Follows the log of one pod.

    Attributes:
        refused: why the server rejects the request for the log; empty: it does not.
        refusing: whether the server rejected the last request and the next may be accepted.
    """

    def __init__(
        self, api: ApiSession, namespace: str, pod: Manifest, sink: Callable[[bytes], None]
    ) -> None:
        self._api = api
        self._path = pods_path(namespace, pod["metadata"]["name"], "/log")
        self._lines = LogLines(sink)
        self._ended = asyncio.Event()
        self.refused = ""
        self.refusing = False

    def container_ended(self) -> None:
        """Signal that the container has ended, so that its log is complete."""
        self._ended.set()

    async def follow(self) -> None:
        """Read the log; return when it is complete or the server rejects the request."""
        backoff = Backoff(FIRST_RETRY, LAST_RETRY)
        while True:
            last = self._ended.is_set()
            try:
                await self._read_one_stream()
            except ApiUnavailable as unavailable:
                self.refusing = isinstance(unavailable, ApiRefusing)
                self._lines.interrupt()
            except ApiRefused as refused:
                self.refusing = False
                if refused.status != 400:  # 400: the container has not started yet.
                    self.refused = str(refused)
                    return
            else:
                if last:
                    self._lines.finish()
                    return
                self._lines.interrupt()
            # Reopen a stream that ended while the container is running, but not at once.
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
            self.refusing = False
            while chunk := await stream.read(CHUNK):
                self._lines.feed(chunk)
                # Yield to the event loop: reading a filled buffer never does.
                await asyncio.sleep(0)
