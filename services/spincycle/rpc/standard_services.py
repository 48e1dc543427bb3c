"""Limits for calls of health and reflection, whose servicers are libraries."""

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
"""Largest request; it contains only the name of a service or a symbol."""

_PREFIXES = ("/grpc.health.", "/grpc.reflection.")


def is_standard(method: str) -> bool:
    """Return whether a method belongs to health or reflection."""
    return method.startswith(_PREFIXES)


def bounded(method: str, handler: Handler, slots: ReadSlots | None) -> Handler:
    """Wrap a handler so that it rejects requests that are too large or cannot be decoded.

    `slots` limits how many requests are received at a time; None means no limit.
    """
    if handler.stream_stream is not None:
        reader = _RequestReader(method, handler.request_deserializer, None)
        return grpc.stream_stream_rpc_method_handler(
            _streaming(handler.stream_stream, reader, slots), None, handler.response_serializer
        )
    reader = _RequestReader(method, handler.request_deserializer, slots)
    if handler.unary_stream is not None:
        assert not inspect.isasyncgenfunction(handler.unary_stream), method
        return grpc.stream_stream_rpc_method_handler(
            _single_request(handler.unary_stream, reader), None, handler.response_serializer
        )
    assert handler.unary_unary is not None, method
    return grpc.stream_unary_rpc_method_handler(
        _single_request(handler.unary_unary, reader), None, handler.response_serializer
    )


class _RequestReader:
    """Reads the requests of a method without keeping their encoded bytes in memory."""

    def __init__(
        self, method: str, parse: Callable[[bytes], Any] | None, slots: ReadSlots | None
    ) -> None:
        self._method = method
        self._parse = parse or bytes
        self._slots = slots

    async def next(self, context: Context) -> Any:
        """Return the next request, or None after the last one.

        Raises:
            MessageTooLarge, UnreadableMessage: the request is rejected.
        """
        raw = await context.read()
        if raw is grpc.aio.EOF:
            return None
        try:
            if len(raw) > REQUEST_BYTES:
                raise MessageTooLarge(self._method, len(raw), REQUEST_BYTES)
            try:
                return self._parse(raw)
            except Exception as error:  # noqa: BLE001 # parsers raise various exceptions
                raise UnreadableMessage(self._method, str(error))
        finally:
            del raw

    async def single(self, context: Context) -> Any:
        """Return the only request of a call; raises as `next`."""
        request = await self.next(context)
        if request is None:
            raise UnreadableMessage(self._method, "the call ended without a message")
        self.received()
        return request

    def received(self) -> None:
        """Release the slot, so that the next call can be received."""
        if self._slots is not None:
            self._slots.release()


def _single_request(handler: Callable[..., Any], reader: _RequestReader) -> Callable[..., Any]:
    async def handle(_: object, context: Context) -> Any:
        try:
            request = await reader.single(context)
        except SpinCycleError as error:
            await abort(context, error)
        return await handler(request, context)

    return handle


def _streaming(
    handler: Callable[..., Any], reader: _RequestReader, slots: ReadSlots | None
) -> Callable[..., Any]:
    async def requests(context: Context) -> AsyncIterator[Any]:
        while True:
            if slots is not None:
                await slots.acquire()
            request = await reader.next(context)
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
