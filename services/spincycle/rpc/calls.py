"""Wraps every call of a server: deadlines, compression, limits, metrics and errors."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing
from typing import Any, TypeAlias, TypeVar, cast

import grpc
import structlog
from google.protobuf.message import Message

from spincycle.errors import (
    DeadlineExceeded,
    Internal,
    MessageTooLarge,
    OutOfMemory,
    SpinCycleError,
    UnknownMethod,
    UnreadableMessage,
)
from spincycle.rpc.in_flight import BytesInFlight, Held, ReadSlots
from spincycle.rpc.limits import (
    COMPRESSED_FROM,
    COMPRESSED_UP_TO,
    COMPRESSION,
    MAX_MESSAGE_BYTES,
    UNARY_DEADLINE,
)
from spincycle.rpc.standard_services import bounded, is_standard
from spincycle.rpc.status import abort
from spincycle.runtime import deadline

Request = TypeVar("Request")
Response = TypeVar("Response")
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context = grpc.aio.ServicerContext[Any, Any]
Check = Callable[[Message, bytes], None]
"""Validates a request, given the message and its encoded bytes."""

OK = grpc.StatusCode.OK.name
CANCELLED = grpc.StatusCode.CANCELLED.name

NOT_WRITTEN = "Method not implemented!"
"""Message of the NotImplementedError that generated code raises for an unimplemented method."""


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Returns every error of a call as an entry of the catalogue, and enforces its deadline.

    Any other exception is logged under an incident number, and the caller gets only that number.

    Args:
        calls: counter of ended calls, by method and code.
        in_flight: limit of the bytes that the messages of all calls hold.
        check: validation of each request; rejects it by raising an entry of the catalogue.
        slots: limit of the calls that are received at a time; None means no limit.
        stream_slots: limit of the messages of reflection streams that are received at a time.
    """

    def __init__(
        self,
        calls: Counter[tuple[str, str]],
        in_flight: BytesInFlight,
        check: Check,
        slots: ReadSlots | None = None,
        stream_slots: ReadSlots | None = None,
    ) -> None:
        self._calls = calls
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
        call = _Call(method, handler, self._check, self._calls, self._in_flight, self._slots)
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


class _Call:
    """Reads and writes the messages of one method."""

    def __init__(
        self,
        method: str,
        handler: Handler,
        check: Check,
        calls: Counter[tuple[str, str]],
        in_flight: BytesInFlight,
        slots: ReadSlots | None,
    ) -> None:
        self.method = method
        self._in_flight = in_flight
        self._slots = slots
        self._name = method.removeprefix("/")
        self._calls = calls
        self._check = check
        self._parse = handler.request_deserializer or bytes
        self._serialize = handler.response_serializer or bytes

    def read_next(self, raw: bytes) -> Any:
        """Decode and check the message of a call, or the next message of a stream."""
        message = self._parsed(raw)
        self._check(message, raw)
        return message

    async def read_all(self, requests: AsyncIterator[bytes]) -> AsyncGenerator[Any, None]:
        """Yield the messages of a stream, and count their bytes until the call ends.

        Raises:
            Overloaded: the calls in flight would exceed their limit.
        """
        with Held(self._in_flight) as held:
            async for raw in requests:
                held.add(len(raw))
                yield self.read_next(raw)

    async def read_single(self, context: Context, held: Held) -> Any:
        """Return the only message of a call, and count its bytes in `held`.

        Raises:
            Overloaded: the calls in flight would exceed their limit.
            UnreadableMessage: the message cannot be decoded, or is missing.
        """
        raw = cast("bytes", await context.read())
        if cast("Any", raw) is grpc.aio.EOF:
            raise UnreadableMessage(self.method, "the call ended without a message")
        held.add(len(raw))
        return self.read_next(raw)

    def holding(self, size: int) -> Held:
        """Count the bytes of a message for the duration of a `with` block.

        Raises:
            Overloaded: on entry, if the calls in flight would exceed their limit.
        """
        return Held(self._in_flight, size)

    def received(self) -> None:
        """Release the slot, since the message is counted now.

        A rejected call keeps its slot until it ends, as gRPC keeps its uncounted message.
        """
        if self._slots is not None:
            self._slots.release()

    def _parsed(self, raw: bytes) -> Any:
        try:
            return self._parse(raw)
        except Exception as error:  # noqa: BLE001 # parsers raise various exceptions
            raise UnreadableMessage(self.method, str(error))

    def write(self, response: Any) -> bytes:
        """Return the encoded response.

        Raises:
            MessageTooLarge: it exceeds MAX_MESSAGE_BYTES.
        """
        raw: bytes = response if isinstance(response, bytes) else self._serialize(response)
        if len(raw) > MAX_MESSAGE_BYTES:
            raise MessageTooLarge(self.method, len(raw), MAX_MESSAGE_BYTES)
        return raw

    def counted(self, context: Context) -> _Counted:
        """Count the call at the end of a `with` block, under the code that the caller gets."""
        return _Counted(self._calls, self._name, context)

    def from_cancellation(self, error: asyncio.CancelledError) -> SpinCycleError:
        """Return the error of a call whose handler awaited something that was cancelled.

        For a CancelledError, gRPC would send no status, and the caller would wait.

        Raises:
            CancelledError: the call itself was cancelled.
        """
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise error
        return self._internal(error)

    def translate(self, error: Exception) -> SpinCycleError:
        """Return the entry of the catalogue for an exception."""
        if isinstance(error, SpinCycleError):
            return error
        if isinstance(error, NotImplementedError) and str(error) == NOT_WRITTEN:
            return UnknownMethod(self.method)
        if isinstance(error, MemoryError):
            # The frames of the call may hold much memory.
            error.__traceback__ = None
            structlog.get_logger().warning("call out of memory", method=self.method)
            return OutOfMemory(self.method)
        return self._internal(error)

    def _internal(self, error: BaseException) -> Internal:
        incident = secrets.token_hex(4)
        structlog.get_logger().error(
            "call failed", method=self.method, incident=incident, exc_info=error
        )
        return Internal(incident)


class _Counted:
    """Counts a call at the end of a `with` block."""

    __slots__ = ("_calls", "_context", "_name")

    def __init__(self, calls: Counter[tuple[str, str]], name: str, context: Context) -> None:
        self._calls = calls
        self._name = name
        self._context = context

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Count the call under its code."""
        if kind is None:
            code = OK
        elif issubclass(kind, grpc.aio.AbortError):
            code = self._context.code().name
        else:
            code = CANCELLED
        self._calls[self._name, code] += 1


def encoded(_message: type[Response], parts: Iterable[bytes]) -> Response:
    """Return the concatenated parts of an encoded message, typed as the message.

    A handler may return encoded bytes, so that a response for many callers is encoded once.
    Concatenated encodings of a message with a repeated field encode the concatenated field.
    """
    return cast("Response", b"".join(parts))


def _wrap(handler: Any, call: _Call) -> Handler:
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


def _unary(handler: Callable[..., Any], call: _Call) -> Callable[..., Any]:
    async def handle(request: bytes, context: Context) -> bytes:
        remaining = cast("float | None", context.time_remaining())  # None without a deadline
        deadline.start(UNARY_DEADLINE if remaining is None else remaining)
        with call.counted(context):
            try:
                with call.holding(len(request)):
                    call.received()
                    try:
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
                        await abort(context, call.translate(error))
                    except asyncio.CancelledError as error:
                        await abort(context, call.from_cancellation(error))
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001 # translated for the caller
                # The error refers to this frame, which would keep the message in memory.
                request = b""
                await abort(context, call.translate(error))
        if COMPRESSED_FROM <= len(raw) <= COMPRESSED_UP_TO and _wants_compression(context):
            context.set_compression(grpc.Compression.Gzip)
            # Initial metadata sent together with a unary response lacks the compression.
            await context.send_initial_metadata(())
        return raw

    return handle


async def _within(seconds: float, response: Awaitable[Any], call: _Call) -> Any:
    try:
        async with asyncio.timeout(seconds) as limit:
            return await response
    except TimeoutError:
        if limit.expired():
            raise DeadlineExceeded(call.method, seconds)
        raise


def _stream_unary(handler: Callable[..., Any], call: _Call) -> Callable[..., Any]:
    async def handle(requests: AsyncIterator[Any], context: Context) -> bytes:
        call.received()
        with call.counted(context):
            try:
                async with aclosing(call.read_all(requests)) as messages:
                    return call.write(await handler(messages, context))
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001 # translated for the caller
                await abort(context, call.translate(error))

    return handle


def _streaming(handler: Callable[..., Any], call: _Call, *, reads_one: bool) -> Callable[..., Any]:
    async def stream(request: Any, context: Context) -> AsyncIterator[bytes]:
        compressing = _wants_compression(context)
        if compressing:
            context.set_compression(grpc.Compression.Gzip)
        with call.counted(context), call.holding(0) as held:
            try:
                if reads_one:
                    request = await call.read_single(context, held)
                call.received()
                # Close it here with its tasks, not when it is garbage-collected.
                async with aclosing(handler(request, context)) as responses:
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
                await abort(context, call.translate(error))
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
