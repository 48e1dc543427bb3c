"""Channels that show this process's identity, and adopt renewed certificates."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from typing import Any, Protocol, Self
from weakref import WeakSet

import grpc

Metadata = tuple[tuple[str, str], ...]


class IdentifiedChannel(grpc.aio.Channel):
    """Opens a channel again when the certificates change, and adds metadata to each call.

    Calls in flight continue on the connection on which they began, until the server ends it: see
    `limits.STREAM_GRACE`. Their callers then receive UNAVAILABLE and open their streams again; if
    the channel ended them, it would cancel the tasks that read them.

    Args:
        open_: opens a channel with the current certificates.

    Attributes:
        current: the connection for calls from now on.
        calls: calls on it that are perhaps in flight.
    """

    def __init__(self, open_: Callable[[], grpc.aio.Channel], metadata: Metadata = ()) -> None:
        self._open = open_
        self.metadata = metadata
        self.current = open_()
        self.calls: WeakSet[grpc.aio.Call] = WeakSet()
        self._adopting: asyncio.Task[None] | None = None
        self._retiring: set[asyncio.Task[None]] = set()

    def renew(self) -> None:
        """Connect with the current certificates, and use that connection once it is established.

        Until then calls use the present connection: the other side may not trust the new
        certificate yet.
        """
        if self._adopting is not None:
            self._adopting.cancel()
        self._adopting = asyncio.create_task(self._adopt(self._open()))

    async def _adopt(self, renewed: grpc.aio.Channel) -> None:
        try:
            await renewed.channel_ready()
        except BaseException:
            await renewed.close()
            raise
        retiring = asyncio.create_task(_retire(self.current, self.calls))
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)
        self.current, self.calls = renewed, WeakSet()

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        """Return a callable for a method; see grpc.aio.Channel."""
        return _Method(self, "unary_unary", args, kwargs)

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        """Return a callable for a method; see grpc.aio.Channel."""
        return _Method(self, "unary_stream", args, kwargs)

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        """Return a callable for a method; see grpc.aio.Channel."""
        return _Method(self, "stream_unary", args, kwargs)

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        """Return a callable for a method; see grpc.aio.Channel."""
        return _Method(self, "stream_stream", args, kwargs)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: FBT001, FBT002 # gRPC's signature
        """Return the state of the current connection."""
        return self.current.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the current connection leaves a state."""
        await self.current.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the current connection is ready."""
        await self.current.channel_ready()

    async def close(self, grace: float | None = None) -> None:
        """Close all connections."""
        tasks = [*self._retiring, *([self._adopting] if self._adopting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.current.close(grace)

    async def __aenter__(self) -> Self:
        """Return the channel."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close all connections."""
        await self.close()


class _Method:
    """Calls one method over the current connection of a channel."""

    __slots__ = ("_args", "_bound", "_channel", "_kind", "_kwargs", "_on")

    def __init__(
        self, channel: IdentifiedChannel, kind: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._channel = channel
        self._kind = kind
        self._args = args
        self._kwargs = kwargs
        self._on: grpc.aio.Channel | None = None
        self._bound: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Make a call; see grpc.aio.UnaryUnaryMultiCallable and its siblings."""
        current = self._channel.current
        if self._on is not current:
            self._bound = getattr(current, self._kind)(*self._args, **self._kwargs)
            self._on = current
        if self._channel.metadata:
            kwargs["metadata"] = (*(kwargs.get("metadata") or ()), *self._channel.metadata)
        call = self._bound(*args, **kwargs)
        self._channel.calls.add(call)
        return call


async def _retire(replaced: grpc.aio.Channel, calls: Iterable[grpc.aio.Call]) -> None:
    """Close a connection when its calls have ended, or when cancelled.

    `Channel.close` with a grace period would leave it open when cancelled.
    """
    ended = asyncio.Event()
    left = 0

    def on_done(_: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            ended.set()

    def count_calls() -> None:
        # References to calls end here: they would keep a call open that its caller has dropped.
        nonlocal left
        in_flight = [call for call in calls if not call.done()]
        left = len(in_flight)
        for call in in_flight:
            call.add_done_callback(on_done)

    count_calls()
    try:
        if left:
            await ended.wait()
    finally:
        await replaced.close()


class BlockingChannel(Protocol):
    """The part of grpc.Channel that is used."""

    def unary_unary(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
    ) -> Any: ...

    def close(self) -> None: ...


class IdentifiedBlockingChannel:
    """As IdentifiedChannel, for the unary calls of one thread, which must be idempotent.

    Args:
        open_: opens a channel with the current certificates; may be called on any thread.
    """

    def __init__(self, open_: Callable[[], grpc.Channel], metadata: Metadata = ()) -> None:
        self._open = open_
        self._metadata = metadata
        self._current = open_()
        self._renewed: grpc.Channel | None = None
        self._is_outdated = False
        self._is_closed = False
        self._lock = threading.Lock()

    def renew(self) -> None:
        """Try the current certificates at the next call; may be called on any thread."""
        self._is_outdated = True

    def unary_unary(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
    ) -> Any:
        """Return a callable for a method; see grpc.Channel."""

        def call_over(channel: grpc.Channel, request: Any, timeout: float) -> Any:
            # Each heartbeat binds its method again, which takes microseconds every two seconds.
            bound = channel.unary_unary(method, request_serializer, response_deserializer)
            return bound(request, timeout=timeout, metadata=self._metadata or None)

        def call(request: Any, *, timeout: float) -> Any:
            renewed = self._connection()
            if renewed is None:
                return call_over(self._current, request, timeout)
            try:
                response = call_over(renewed, request, timeout)
            except grpc.RpcError as failure:
                if failure.code() not in _NOT_CONNECTED or self._is_closed:
                    raise
                # The other side may not trust the new certificate yet.
                return call_over(self._current, request, timeout)
            self._adopt(renewed)
            return response

        return call

    def close(self) -> None:
        """Close the connections, and end the call in flight."""
        with self._lock:
            self._is_closed = True
            if self._renewed is not None:
                self._renewed.close()
            self._current.close()

    def _connection(self) -> grpc.Channel | None:
        """Return the connection to try first; None if there is none but the present one."""
        with self._lock:
            if self._is_outdated and not self._is_closed:
                self._is_outdated = False
                if self._renewed is not None:
                    self._renewed.close()
                self._renewed = self._open()
            return self._renewed

    def _adopt(self, renewed: grpc.Channel) -> None:
        with self._lock:
            if not self._is_closed:
                # No call is in flight: only this thread makes any.
                self._current.close()
                self._current, self._renewed = renewed, None


_NOT_CONNECTED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
