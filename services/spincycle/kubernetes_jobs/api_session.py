"""Calls of one try to the API server, with the policy for refusals of the runner itself."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from spincycle.kubernetes_jobs.errors import ApiRefused, ApiRefusing, ApiUnavailable
from spincycle.kubernetes_jobs.refusal import concerns_caller, failure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    import aiohttp

    from spincycle.kubernetes_jobs.api import Api
    from spincycle.kubernetes_jobs.manifest import Manifest

REFUSAL_TIMEOUT = 30.0
"""Seconds for which a refusal of the runner counts as unavailability."""


class ApiSession:
    """Calls the API server for one try.

    A restarted API server forbids every call until it has loaded its roles, and a token can expire
    before its replacement is mounted. So a refusal of the caller, its credentials or permissions,
    raises ApiRefusing, which is an ApiUnavailable, until calls of the same method and path have
    been refused for REFUSAL_TIMEOUT. An accepted call, or an outage, ends that period. A refusal
    of the object, such as by a quota, is final at once.
    """

    def __init__(self, api: Api) -> None:
        self._api = api
        self._refused_since: dict[str, float] = {}

    async def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        body: Manifest | None = None,
    ) -> Manifest:
        """Make a call and return the decoded response.

        Raises:
            ApiRefused: the server rejected the call.
            ApiUnavailable: the server did not respond, asked to retry later, or rejects the caller
                for less than REFUSAL_TIMEOUT.
        """
        kind = f"{method} {path}"
        with self._refusals_limited(kind):
            response = await self._api.call(method, path, query, body)
            self._accepted(kind)
            return response

    @asynccontextmanager
    async def stream(
        self, path: str, query: Mapping[str, str], silence: float
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """Open a streamed response; `silence` is the read timeout in seconds.

        Raises:
            ApiRefused, ApiUnavailable: as in `call`, also while the stream is read.
        """
        kind = f"GET {path}"
        with self._refusals_limited(kind):
            async with self._api.stream(path, query, silence) as stream:
                self._accepted(kind)
                yield stream

    async def watch(
        self,
        path: str,
        query: Mapping[str, str],
        silence: float,
        apply: Callable[[Manifest], None],
    ) -> None:
        """Pass each event of a watch to `apply` until the server ends the watch.

        Raises:
            ApiRefused, ApiUnavailable: as in `call`, also for an ERROR event.
        """
        kind = f"WATCH {path}"
        now = asyncio.get_running_loop().time
        with self._refusals_limited(kind):
            opened = now()
            async with self._api.stream(path, query, silence) as stream:
                async for line in _lines(stream):
                    event = json.loads(line)
                    if event["type"] != "ERROR":
                        self._accepted(kind)
                        apply(event)
                        continue
                    # An accepted watch can consist of a refusal alone; only a long one was quiet.
                    if now() - opened >= REFUSAL_TIMEOUT:
                        self._accepted(kind)
                    raise failure(int(event["object"].get("code", 500)), event["object"])
            self._accepted(kind)

    @contextmanager
    def _refusals_limited(self, kind: str) -> Iterator[None]:
        try:
            yield
        except ApiRefused as refused:
            if not concerns_caller(refused):
                self._accepted(kind)
                raise
            now = asyncio.get_running_loop().time()
            lasted = now - self._refused_since.setdefault(kind, now)
            if lasted < REFUSAL_TIMEOUT:
                raise ApiRefusing(refused, REFUSAL_TIMEOUT) from refused
            refused.retried_for = REFUSAL_TIMEOUT
            raise
        except ApiUnavailable:
            # The server that is back has to load its roles again.
            self._refused_since.pop(kind, None)
            raise

    def _accepted(self, kind: str) -> None:
        self._refused_since.pop(kind, None)


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in stream.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield line
