"""Ends streams when the credentials of their callers expire or are revoked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

from spincycle.access.caller import Caller
from spincycle.access.credentials import Credentials
from spincycle.errors import NotAuthenticated

Item = TypeVar("Item")

EXPIRED = "the credential has expired"


class CredentialLimit:
    """Limits one stream to the validity of the credential of its caller.

    Args:
        caller: the caller; its credential may expire.
        credentials: what it showed; None if another service vouches for it.
        streams: the limits of the open streams, to which this one is added while it is in use.
    """

    __slots__ = ("_ends_at", "_problem", "_streams", "_timeout", "caller", "credentials")

    def __init__(
        self,
        caller: Caller,
        credentials: Credentials | None = None,
        streams: set[CredentialLimit] | None = None,
    ) -> None:
        self.caller = caller
        self.credentials = credentials
        self._streams = streams
        self._problem = EXPIRED
        self._ends_at: float | None = None
        self._timeout: asyncio.Timeout | None = None

    def end(self, problem: str) -> None:
        """End the stream; its caller gets the problem as NotAuthenticated."""
        self._problem = problem
        self._ends_at = asyncio.get_running_loop().time()
        if self._timeout is not None:
            self._timeout.reschedule(self._ends_at)

    async def limit(self, items: AsyncIterator[Item]) -> AsyncGenerator[Item, None]:
        """Yield the items of a stream while the credential is valid.

        The iterator is cancelled when the credential ends.

        Raises:
            NotAuthenticated: the credential has expired or was revoked.
        """
        loop = asyncio.get_running_loop()
        if self.caller.expires_at is not None:
            self._ends_at = loop.time() + self.caller.expires_at - time.time()
        if self._streams is not None:
            self._streams.add(self)
        try:
            while True:
                if self._ends_at is not None and loop.time() >= self._ends_at:
                    raise NotAuthenticated(self._problem)
                try:
                    item = await self._next(items)
                except StopAsyncIteration:
                    return
                yield item
        finally:
            if self._streams is not None:
                self._streams.discard(self)

    async def _next(self, items: AsyncIterator[Item]) -> Item:
        # Only while waiting for the next item: in a `yield` it would cancel the sending of gRPC.
        timeout = self._timeout = asyncio.timeout_at(self._ends_at)
        try:
            async with timeout:
                return await anext(items)
        except TimeoutError:
            if timeout.expired():
                raise NotAuthenticated(self._problem)
            raise
        finally:
            self._timeout = None
