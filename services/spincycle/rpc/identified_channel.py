"""Channels that show this process's identity, and adopt renewed certificates."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, Self

import grpc

RENEWAL_GRACE = 600.0
"""Seconds for which calls may continue over a connection with the previous certificate. Streams are
then cut, and their callers open them again."""

Metadata = tuple[tuple[str, str], ...]


class IdentifiedChannel(grpc.aio.Channel):
    """Opens a channel again when the certificates change, and adds metadata to each call.

    Calls in flight continue on the connection on which they began.

    Args:
        open_: opens a channel with the current certificates.
    """

    def __init__(self, open_: Callable[[], grpc.aio.Channel], metadata: Metadata = ()) -> None:
        self._open = open_
        self.metadata = metadata
        self.current = open_()
        self._replaced: set[asyncio.Task[None]] = set()

    def renew(self) -> None:
        """Use a new connection for calls from now on."""
        replaced, self.current = self.current, self._open()
        closing = asyncio.create_task(replaced.close(RENEWAL_GRACE))
        self._replaced.add(closing)
        closing.add_done_callback(self._replaced.discard)

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
        for closing in self._replaced:
            closing.cancel()
        await asyncio.gather(*self._replaced, return_exceptions=True)
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
        return self._bound(*args, **kwargs)


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
    """As IdentifiedChannel, for the unary calls of one thread.

    Args:
        open_: opens a channel with the current certificates; may be called on any thread.
    """

    def __init__(self, open_: Callable[[], grpc.Channel], metadata: Metadata = ()) -> None:
        self._open = open_
        self._metadata = metadata
        self._current = open_()
        self._is_outdated = False

    def renew(self) -> None:
        """Use a new connection from the next call on; may be called on any thread."""
        self._is_outdated = True

    def unary_unary(
        self,
        method: str,
        request_serializer: Callable[[Any], bytes] | None = None,
        response_deserializer: Callable[[bytes], Any] | None = None,
    ) -> Any:
        """Return a callable for a method; see grpc.Channel."""

        def call(request: Any, *, timeout: float) -> Any:
            # Each heartbeat binds its method again, which takes microseconds every two seconds.
            bound = self._connection().unary_unary(
                method, request_serializer, response_deserializer
            )
            return bound(request, timeout=timeout, metadata=self._metadata or None)

        return call

    def close(self) -> None:
        """Close the connection, and end the call in flight."""
        self._current.close()

    def _connection(self) -> grpc.Channel:
        if self._is_outdated:
            self._is_outdated = False
            # No call is in flight: only this thread makes any.
            replaced, self._current = self._current, self._open()
            replaced.close()
        return self._current
