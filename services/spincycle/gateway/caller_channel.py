"""A channel that passes on caller and id of the HTTP call with each gRPC call."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Self

import grpc

from spincycle.access.call_id import CALL_ID, current_call_id
from spincycle.access.caller import Caller
from spincycle.rpc.caller_metadata import Metadata, assertion_of


@dataclass(frozen=True, slots=True)
class PassedOn:
    """What the services get of a caller.

    Attributes:
        authorization: Authorization header with a bearer token, which they verify again; empty if
            the caller showed none.
        caller: the caller, if the services take the gateway's word for it; None with a token.
    """

    authorization: str = ""
    caller: Caller | None = None

    def key(self) -> PassedOn:
        """Return what decides which data the caller gets: calls of equal keys are shared."""
        if self.caller is None:
            return self
        return replace(self, caller=replace(self.caller, peer="", expires_at=None))

    def metadata(self) -> Metadata:
        """Return the metadata of a call."""
        if self.authorization:
            return (("authorization", self.authorization),)
        return () if self.caller is None else assertion_of(self.caller)


_NOBODY = PassedOn()

_passed_on: ContextVar[PassedOn] = ContextVar("passed_on", default=_NOBODY)


def passed_on() -> PassedOn:
    """Return what is passed on with the current HTTP call."""
    return _passed_on.get()


def pass_on(caller: PassedOn) -> None:
    """Pass on a caller with the gRPC calls of the current HTTP call."""
    _passed_on.set(caller)


class CallerChannel(grpc.aio.Channel):
    """Adds caller and id of the current call to the metadata of calls over another channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        """Return a callable for a method; see grpc.aio.Channel."""
        return _Method(self._channel.unary_unary(*args, **kwargs))

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        """Return a callable for a method; see grpc.aio.Channel."""
        return _Method(self._channel.unary_stream(*args, **kwargs))

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        """Return a callable for a method; see grpc.aio.Channel."""
        return _Method(self._channel.stream_unary(*args, **kwargs))

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        """Return a callable for a method; see grpc.aio.Channel."""
        return _Method(self._channel.stream_stream(*args, **kwargs))

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:  # noqa: FBT001, FBT002 # gRPC's signature
        """Return the state of the connection."""
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the connection leaves a state."""
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until the connection is ready."""
        await self._channel.channel_ready()

    async def close(self, grace: float | None = None) -> None:
        """Close the connection."""
        await self._channel.close(grace)

    async def __aenter__(self) -> Self:
        """Return the channel."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close the connection."""
        await self.close()


class _Method:
    """Calls one method."""

    __slots__ = ("_method",)

    def __init__(self, method: Any) -> None:
        self._method = method

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Make a call; see grpc.aio.UnaryUnaryMultiCallable and its siblings."""
        metadata = _passed_on.get().metadata()
        if call_id := current_call_id():
            metadata = (*metadata, (CALL_ID, call_id))
        if metadata:
            kwargs["metadata"] = (*(kwargs.get("metadata") or ()), *metadata)
        return self._method(*args, **kwargs)
