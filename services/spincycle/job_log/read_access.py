"""Decides which journals a caller may read, by the decisions of the request managers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypeVar

import grpc
import structlog

from spincycle.access.caller import Caller, current_caller
from spincycle.batching.coalescer import Coalescer
from spincycle.batching.lru import Lru
from spincycle.errors import RequestNotFound, ServiceUnavailable, SpinCycleError
from spincycle.internal.v1 import read_access_service_pb2 as pb
from spincycle.internal.v1.read_access_service_pb2_grpc import ReadAccessServiceStub
from spincycle.rpc.caller_metadata import encode_caller
from spincycle.rpc.channel import Dial, open_channel
from spincycle.rpc.status import from_rpc_error
from spincycle.runtime import deadline

SERVICE = "request manager"

VALIDITY = 5.0
"""Seconds for which a caller may read a journal after a request manager was asked."""

TIMEOUT = 5.0
"""Seconds that a request manager has to decide."""

RETRY_INTERVAL = 0.25
"""Maximum seconds between two attempts to renew the grant of a stream."""

MAX_GRANTS = 20_000
"""Most grants that are remembered."""

CALLS = 4
"""Most calls to request managers at a time, each for the reads that came meanwhile."""

Portion = TypeVar("Portion")

_Question = tuple[Caller, str]


class ReadAccess(Protocol):
    """Checks who reads journals."""

    async def check(self, request_id: str) -> None:
        """Check that the current caller may read the journal of a request.

        Raises:
            RequestNotFound: it may not, or there is no such request.
            ServiceUnavailable: no request manager has decided.
        """
        ...

    def hold(
        self, request_id: str, portions: AsyncGenerator[Portion, None]
    ) -> AsyncGenerator[Portion, None]:
        """Yield what `portions` yields for as long as the current caller may read the journal.

        Raises:
            RequestNotFound, ServiceUnavailable: see `check`.
        """
        ...


class OpenAccess:
    """Lets every caller read every journal."""

    async def check(self, request_id: str) -> None:
        """Do nothing."""

    def hold(
        self,
        request_id: str,  # noqa: ARG002 # part of the protocol
        portions: AsyncGenerator[Portion, None],
    ) -> AsyncGenerator[Portion, None]:
        """Return `portions`."""
        return portions


class RequestManagerAccess:
    """Asks request managers; other services may read every journal.

    Reads that come at the same time share a call, and what a request manager allows holds for
    VALIDITY. What it does not allow is asked again by the next read.

    Args:
        address: internal listener of the request managers.
        dial: opens a channel to it.
        validity: seconds for which a decision holds.
        now: returns the time in seconds.
    """

    def __init__(
        self,
        address: str,
        dial: Dial = open_channel,
        *,
        validity: float = VALIDITY,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._channel = dial(address)
        self._stub = ReadAccessServiceStub(self._channel)
        self._validity = validity
        self._now = now
        self._granted_at: Lru[_Question, float] = Lru(MAX_GRANTS)
        self._questions: Coalescer[_Question, bool] = Coalescer(self._ask, in_flight=CALLS)
        self._problem = ""

    @property
    def coalescers(self) -> dict[str, Coalescer[Any, Any]]:
        """What joins the reads, by name."""
        return {"authorize_read": self._questions}

    async def check(self, request_id: str) -> None:
        """See ReadAccess."""
        caller = current_caller()
        if not caller.is_service:
            await self._check(_without_connection(caller), request_id)

    async def hold(
        self, request_id: str, portions: AsyncGenerator[Portion, None]
    ) -> AsyncGenerator[Portion, None]:
        """See ReadAccess."""
        caller = current_caller()
        if caller.is_service:
            async for portion in portions:
                yield portion
            return
        caller = _without_connection(caller)
        granted_at = await self._check(caller, request_id)
        refused = asyncio.create_task(self._until_refused(caller, request_id, granted_at))
        following: asyncio.Future[Portion] | None = None
        try:
            while True:
                following = asyncio.ensure_future(anext(portions))
                await asyncio.wait({following, refused}, return_when=asyncio.FIRST_COMPLETED)
                if refused.done():
                    refused.result()
                try:
                    portion = following.result()
                except StopAsyncIteration:
                    return
                yield portion
        finally:
            ended: list[asyncio.Future[Any]] = [refused]
            if following is not None:
                ended.append(following)
            for each in ended:
                each.cancel()
            await asyncio.gather(*ended, return_exceptions=True)

    async def close(self) -> None:
        """Close the channel."""
        await self._questions.close(0)
        await self._channel.close()

    async def _check(self, caller: Caller, request_id: str) -> float:
        """Return when the caller was granted to read, which it may do for the validity."""
        granted_at = self._granted_at.get((caller, request_id))
        if granted_at is not None and self._now() < granted_at + self._validity:
            return granted_at
        return await self._renew(caller, request_id)

    async def _renew(self, caller: Caller, request_id: str) -> float:
        asked_at = self._now()
        if not await self._questions.submit((caller, request_id)):
            raise RequestNotFound(request_id)
        self._granted_at.put((caller, request_id), asked_at)
        return asked_at

    async def _until_refused(self, caller: Caller, request_id: str, granted_at: float) -> None:
        """Renew a grant at half time, and while no request manager decides, until it ends.

        Raises:
            RequestNotFound, ServiceUnavailable: as `check`.
        """
        while True:
            ends_at = granted_at + self._validity
            await asyncio.sleep(max(ends_at - self._now() - self._validity / 2, 0))
            renewed_at = self._granted_at.get((caller, request_id))
            if renewed_at is not None and renewed_at > granted_at:
                # Another read of the caller has renewed it.
                granted_at = renewed_at
                continue
            try:
                granted_at = await self._renew(caller, request_id)
            except ServiceUnavailable:
                left = ends_at - self._now()
                if left <= 0:
                    raise
                await asyncio.sleep(min(RETRY_INTERVAL, left))

    async def _ask(self, questions: list[_Question]) -> Sequence[bool | BaseException]:
        by_caller: dict[Caller, set[str]] = {}
        for caller, request_id in questions:
            by_caller.setdefault(caller, set()).add(request_id)
        decided = await asyncio.gather(
            *(self._authorize(caller, ids) for caller, ids in by_caller.items())
        )
        viewable = dict(zip(by_caller, decided, strict=True))
        results: list[bool | BaseException] = []
        for caller, request_id in questions:
            ids = viewable[caller]
            results.append(ids if isinstance(ids, SpinCycleError) else request_id in ids)
        return results

    async def _authorize(
        self, caller: Caller, request_ids: set[str]
    ) -> frozenset[str] | SpinCycleError:
        """Return the requests that a caller may view, or why no request manager has decided."""
        message = pb.AuthorizeReadRequest(
            caller=encode_caller(caller), request_ids=sorted(request_ids)
        )
        try:
            response = await self._stub.AuthorizeRead(message, timeout=deadline.remaining(TIMEOUT))
        except grpc.aio.AioRpcError as failure:
            self._report(from_rpc_error(failure, SERVICE, self._address).message)
            return ServiceUnavailable(SERVICE, self._address)
        self._problem = ""
        return frozenset(response.request_ids)

    def _report(self, problem: str) -> None:
        """Log why request managers do not decide, once until they do."""
        if problem != self._problem:
            self._problem = problem
            structlog.get_logger().warning("reads not authorised", problem=problem)


def _without_connection(caller: Caller) -> Caller:
    """Return the caller without what differs between its calls and decides nothing."""
    return replace(caller, peer="", expires_at=None)
