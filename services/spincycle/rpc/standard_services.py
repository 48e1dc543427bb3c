"""Calls of health and reflection, which other packages implement, within bounds of ours."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias

import grpc

from spincycle.errors import MessageTooLarge, SpinCycleError, UnreadableMessage
from spincycle.rpc.in_flight import ReadSlots
from spincycle.rpc.status import abort

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context = grpc.aio.ServicerContext[Any, Any]

REQUEST_BYTES = 4 * 1024
"""Largest request: it names a service or a symbol, and its servicer keeps it."""

_PREFIXES = ("/grpc.health.", "/grpc.reflection.")


def is_standard(method: str) -> bool:
    """Whether it is a method of these services."""
    return method.startswith(_PREFIXES)


def bounded(method: str, handler: Handler, slots: ReadSlots | None) -> Handler:
    """The handler, which refuses requests that are too large or cannot be read.

    `slots` bounds how many requests are received at a time; None means no bound.
    """
    if handler.stream_stream is not None:
        reading = _Reading(method, handler.request_deserializer, None)
        return grpc.stream_stream_rpc_method_handler(
            _streaming(handler.stream_stream, reading, slots), None, handler.response_serializer
        )
    reading = _Reading(method, handler.request_deserializer, slots)
    if handler.unary_stream is not None:
        assert not inspect.isasyncgenfunction(handler.unary_stream), method
        return grpc.stream_stream_rpc_method_handler(
            _answering(handler.unary_stream, reading), None, handler.response_serializer
        )
    assert handler.unary_unary is not None, method
    return grpc.stream_unary_rpc_method_handler(
        _answering(handler.unary_unary, reading), None, handler.response_serializer
    )


class _Reading:
    """Reads requests of a method so that neither gRPC nor a caller's frame keeps their bytes."""

    def __init__(
        self, method: str, parse: Callable[[bytes], Any] | None, slots: ReadSlots | None
    ) -> None:
        self._method = method
        self._parse = parse or bytes
        self._slots = slots

    async def next(self, context: Context) -> Any:
        """The next request, or None if the caller sends no more.

        Raises:
            MessageTooLarge, UnreadableMessage: it is refused.
        """
        raw = await context.read()
        if raw is grpc.aio.EOF:
            return None
        try:
            if len(raw) > REQUEST_BYTES:
                raise MessageTooLarge(self._method, len(raw), REQUEST_BYTES)
            try:
                return self._parse(raw)
            except Exception as error:  # noqa: BLE001 # as parsers like it
                raise UnreadableMessage(self._method, str(error))
        finally:
            del raw

    async def only(self, context: Context) -> Any:
        """The one request of a call; raises as `next`."""
        request = await self.next(context)
        if request is None:
            raise UnreadableMessage(self._method, "the call ended without one")
        self.received()
        return request

    def received(self) -> None:
        """Let the next call be received."""
        if self._slots is not None:
            self._slots.release()


def _answering(handler: Callable[..., Any], reading: _Reading) -> Callable[..., Any]:
    async def answer(_: object, context: Context) -> Any:
        try:
            request = await reading.only(context)
        except SpinCycleError as error:
            await abort(context, error)
        return await handler(request, context)

    return answer


def _streaming(
    handler: Callable[..., Any], reading: _Reading, slots: ReadSlots | None
) -> Callable[..., Any]:
    async def requests(context: Context) -> AsyncIterator[Any]:
        while True:
            if slots is not None:
                await slots.acquire()
            request = await reading.next(context)
            if slots is not None:
                slots.release()
            if request is None:
                return
            yield request

    async def stream(_: object, context: Context) -> AsyncIterator[Any]:
        try:
            async for response in handler(requests(context), context):
                yield response
        except SpinCycleError as error:
            await abort(context, error)

    return stream
