"""Wraps every call of a server: deadlines, compression, limits, metrics and errors."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Any, TypeVar, cast

import grpc

from spincycle.errors import (
    DeadlineExceeded,
    SpinCycleError,
    UnknownMethod,
)
from spincycle.rpc.admission import Admission
from spincycle.rpc.identification import OnRefusal, log_refusal
from spincycle.rpc.in_flight import BytesInFlight, ReadSlots
from spincycle.rpc.limits import (
    COMPRESSED_FROM,
    COMPRESSED_UP_TO,
    COMPRESSION,
    UNARY_DEADLINE,
)
from spincycle.rpc.method import Check, Context, Handler, Method
from spincycle.rpc.standard_services import bounded, is_standard
from spincycle.rpc.status import abort
from spincycle.runtime import deadline

Request = TypeVar("Request")
Response = TypeVar("Response")


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Returns every error of a call as an entry of the catalogue, and enforces its deadline.

    Any other exception is logged under an incident number, and the caller gets only that number.

    Args:
        calls: counter of ended calls, by method and code.
        in_flight: limit of the bytes that the messages of all calls hold.
        check: validation of each request; rejects it by raising an entry of the catalogue.
        slots: limit of the calls that are received at a time; None means no limit.
        stream_slots: limit of the messages of reflection streams that are received at a time.
        admission: identifies the callers and decides what they may call; None admits everybody.
        on_refusal: receives the calls that were refused for want of an identity or a right.
    """

    def __init__(
        self,
        calls: Counter[tuple[str, str]],
        in_flight: BytesInFlight,
        check: Check,
        slots: ReadSlots | None = None,
        stream_slots: ReadSlots | None = None,
        admission: Admission | None = None,
        on_refusal: OnRefusal = log_refusal,
    ) -> None:
        self._calls = calls
        self._admission = admission
        self._on_refusal = on_refusal
        self._in_flight = in_flight
        self._check = check
        self._slots = slots
        self._stream_slots = stream_slots
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Request, Response] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Return the wrapped handler of the call."""
        method = str(handler_call_details.method)
        wrapped = self._wrapped.get(method)
        if wrapped is not None:
            if self._slots is not None:
                await self._slots.acquire()
            return wrapped
        handler = await continuation(handler_call_details)
        if handler is None:
            return _rejecting(UnknownMethod(method))
        if is_standard(method):
            return await self._standard(method, handler)
        if not method.startswith("/spincycle."):
            return handler
        call = Method(
            method,
            handler,
            self._check,
            self._calls,
            self._in_flight,
            self._slots,
            self._admission,
            self._on_refusal,
        )
        wrapped = self._wrapped[method] = _wrap(handler, call)
        if self._slots is not None:
            await self._slots.acquire()
        return wrapped

    async def _standard(self, method: str, handler: Handler) -> Handler:
        """Return the handler of health or reflection.

        A stream of requests may be idle for long; it takes a separate slot for each request.
        """
        if handler.request_streaming:
            return bounded(method, handler, self._stream_slots)
        if self._slots is not None:
            await self._slots.acquire()
        return bounded(method, handler, self._slots)


def encoded(_message: type[Response], parts: Iterable[bytes]) -> Response:
    """Return the concatenated parts of an encoded message, typed as the message.

    A handler may return encoded bytes, so that a response for many callers is encoded once.
    Concatenated encodings of a message with a repeated field encode the concatenated field.
    """
    return cast("Response", b"".join(parts))


def _wrap(handler: Any, call: Method) -> Handler:
    if handler.unary_unary:
        return grpc.unary_unary_rpc_method_handler(_unary(handler.unary_unary, call))
    if handler.stream_unary:
        return grpc.stream_unary_rpc_method_handler(_stream_unary(handler.stream_unary, call))
    if handler.unary_stream:
        # As a unary call, gRPC would keep the request message until the stream ends.
        return grpc.stream_stream_rpc_method_handler(
            _streaming(handler.unary_stream, call, reads_one=True)
        )
    # The handlers of bidirectional streams bound their unprocessed messages themselves.
    return grpc.stream_stream_rpc_method_handler(
        _streaming(handler.stream_stream, call, reads_one=False), call.read_next
    )


def _unary(handler: Callable[..., Any], call: Method) -> Callable[..., Any]:
    async def handle(request: bytes, context: Context) -> bytes:
        remaining = cast("float | None", context.time_remaining())  # None without a deadline
        deadline.start(UNARY_DEADLINE if remaining is None else remaining)
        with call.counted(context):
            try:
                with call.holding(len(request)):
                    call.received()
                    try:
                        await call.admit(context)
                        message = call.read_next(request)
                        if remaining is None:
                            response = await _within(
                                UNARY_DEADLINE, handler(message, context), call
                            )
                        else:
                            # At the caller's deadline, gRPC cancels this task.
                            response = await handler(message, context)
                        raw = call.write(response)
                    except grpc.aio.AbortError:
                        raise
                    except Exception as error:  # noqa: BLE001 # translated for the caller
                        # gRPC keeps the message until the call ends, so count it until then.
                        await abort(context, call.translate(error, context))
                    except asyncio.CancelledError as error:
                        await abort(context, call.from_cancellation(error))
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001 # translated for the caller
                # The error refers to this frame, which would keep the message in memory.
                request = b""
                await abort(context, call.translate(error, context))
        if COMPRESSED_FROM <= len(raw) <= COMPRESSED_UP_TO and _wants_compression(context):
            context.set_compression(grpc.Compression.Gzip)
            # Initial metadata sent together with a unary response lacks the compression.
            await context.send_initial_metadata(())
        return raw

    return handle


async def _within(seconds: float, response: Awaitable[Any], call: Method) -> Any:
    try:
        async with asyncio.timeout(seconds) as limit:
            return await response
    except TimeoutError:
        if limit.expired():
            raise DeadlineExceeded(call.method, seconds)
        raise


def _stream_unary(handler: Callable[..., Any], call: Method) -> Callable[..., Any]:
    async def handle(requests: AsyncIterator[Any], context: Context) -> bytes:
        call.received()
        with call.counted(context):
            try:
                await call.admit_stream(context)
                async with aclosing(call.read_all(requests)) as messages:
                    return call.write(await handler(messages, context))
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001 # translated for the caller
                await abort(context, call.translate(error, context))

    return handle


def _streaming(handler: Callable[..., Any], call: Method, *, reads_one: bool) -> Callable[..., Any]:
    async def stream(request: Any, context: Context) -> AsyncIterator[bytes]:
        compressing = _wants_compression(context)
        if compressing:
            context.set_compression(grpc.Compression.Gzip)
        with call.counted(context), call.holding(0) as held:
            try:
                limit = await call.admit_stream(context)
                if reads_one:
                    request = await call.read_single(context, held)
                call.received()
                # Close it here with its tasks, not when it is garbage-collected.
                async with (
                    aclosing(handler(request, context)) as unlimited,
                    aclosing(unlimited if limit is None else limit.limit(unlimited)) as responses,
                ):
                    request = None
                    async for response in responses:
                        # At its first response, the handler no longer needs the request.
                        held.release()
                        raw = call.write(response)
                        if compressing and not COMPRESSED_FROM <= len(raw) <= COMPRESSED_UP_TO:
                            context.disable_next_message_compression()
                        yield raw
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001 # translated for the caller
                await abort(context, call.translate(error, context))
            except asyncio.CancelledError as error:
                await abort(context, call.from_cancellation(error))

    return stream


def _rejecting(error: SpinCycleError) -> Handler:
    async def reject(_: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        await abort(context, error)
        yield b""

    return grpc.stream_stream_rpc_method_handler(reject)


def _wants_compression(context: Context) -> bool:
    metadata = context.invocation_metadata() or ()
    return any(key == COMPRESSION and value == "gzip" for key, value in metadata)
