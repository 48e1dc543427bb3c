"""What happens around every call: deadlines, compression, and errors of the catalogue."""

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

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context = grpc.aio.ServicerContext[Any, Any]
Check = Callable[[Message, bytes], None]
"""Looks at a request, and at the bytes that it was read from."""

OK = grpc.StatusCode.OK.name
CANCELLED = grpc.StatusCode.CANCELLED.name

NOT_WRITTEN = "Method not implemented!"
"""What the generated code says of a method that a service does not have."""


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Sends every failure of a call as an entry of the catalogue, and keeps its deadline.

    What is not in the catalogue is logged whole under an incident number, which is all
    that the caller is told. `check` refuses a request by raising such an entry. Each call is
    counted in `calls`, by method and code, when it ends. `in_flight` bounds what the messages of
    all calls hold, `slots`, if there are any, how many calls are received at a time, and
    `stream_slots` how many messages of streams of reflection.
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
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Asked, Answered] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wrap the handler of the call."""
        method = str(handler_call_details.method)
        wrapped = self._wrapped.get(method)
        if wrapped is not None:
            if self._slots is not None:
                await self._slots.acquire()
            return wrapped
        handler = await continuation(handler_call_details)
        if handler is None:
            return _refusing(UnknownMethod(method))
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
        """The handler of health or reflection.

        A stream of requests may be silent for long and gets slots of its own, one per request.
        """
        if handler.request_streaming:
            return bounded(method, handler, self._stream_slots)
        if self._slots is not None:
            await self._slots.acquire()
        return bounded(method, handler, self._slots)


class _Call:
    """One method, as its messages are read and written."""

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
        """Return the message, or the next one of a stream, if the check accepts it."""
        message = self._parsed(raw)
        self._check(message, raw)
        return message

    async def read_all(self, requests: AsyncIterator[bytes]) -> AsyncGenerator[Any, None]:
        """The messages of a stream, which are held until the call ends.

        Raises:
            Overloaded: they hold more than the calls in flight may.
        """
        with Held(self._in_flight) as held:
            async for raw in requests:
                held.add(len(raw))
                yield self.read_next(raw)

    async def read_only(self, context: Context, held: Held) -> Any:
        """The only message of a call, which is counted as held.

        Raises:
            Overloaded: it holds more than the calls in flight may.
            UnreadableMessage: it cannot be read, or there is none.
        """
        raw = cast("bytes", await context.read())
        if cast(Any, raw) is grpc.aio.EOF:
            raise UnreadableMessage(self.method, "the call ended without one")
        held.add(len(raw))
        return self.read_next(raw)

    def holding(self, size: int) -> Held:
        """Count the bytes of a message while a `with` block lasts.

        Raises:
            Overloaded: on entering it, if the calls in flight may not hold them.
        """
        return Held(self._in_flight, size)

    def received(self) -> None:
        """Note that the message is counted, so that the next call can be received.

        That of a refused call is not, and stays in memory until the call has ended.
        """
        if self._slots is not None:
            self._slots.release()

    def _parsed(self, raw: bytes) -> Any:
        try:
            return self._parse(raw)
        except Exception as error:  # noqa: BLE001 # parsers raise what they like at what they cannot read
            raise UnreadableMessage(self.method, str(error))

    def write(self, answer: Any) -> bytes:
        """The message as it is sent."""
        raw: bytes = answer if isinstance(answer, bytes) else self._serialize(answer)
        if len(raw) > MAX_MESSAGE_BYTES:
            raise MessageTooLarge(self.method, len(raw), MAX_MESSAGE_BYTES)
        return raw

    def counted(self, context: Context) -> _Counted:
        """Count the call when it ends, under the code that its caller is told."""
        return _Counted(self._calls, self._name, context)

    def not_cancelled(self, error: asyncio.CancelledError) -> SpinCycleError:
        """The failure of a call of which something that it waited for was cancelled.

        gRPC would send nothing, and the caller would wait.

        Raises:
            CancelledError: it was the call itself that was cancelled.
        """
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise error
        return self._internal(error)

    def named(self, error: Exception) -> SpinCycleError:
        """A failure as an entry of the catalogue."""
        if isinstance(error, SpinCycleError):
            return error
        if isinstance(error, NotImplementedError) and str(error) == NOT_WRITTEN:
            return UnknownMethod(self.method)
        if isinstance(error, MemoryError):
            # Frames of the call may hold much; nothing of them is needed.
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
        """Begin; nothing is counted yet."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Count."""
        if kind is None:
            code = OK
        elif issubclass(kind, grpc.aio.AbortError):
            code = self._context.code().name
        else:
            code = CANCELLED
        self._calls[self._name, code] += 1


def encoded(_message: type[Answered], parts: Iterable[bytes]) -> Answered:
    """The bytes of a message, which a handler may answer in its place.

    What many callers are told is encoded once. Parts of a message that repeat a field, put one
    after the other, are a message with all of them.
    """
    return cast(Answered, b"".join(parts))


def _wrap(handler: Any, call: _Call) -> Handler:
    if handler.unary_unary:
        return grpc.unary_unary_rpc_method_handler(_answering(handler.unary_unary, call))
    if handler.stream_unary:
        return grpc.stream_unary_rpc_method_handler(_collecting(handler.stream_unary, call))
    if handler.unary_stream:
        # gRPC would keep the message until such a call ends, but not one that is read here.
        return grpc.stream_stream_rpc_method_handler(
            _streaming(handler.unary_stream, call, reads_one=True)
        )
    # What such a stream has sent and its handler has not dealt with, the handler itself bounds.
    return grpc.stream_stream_rpc_method_handler(
        _streaming(handler.stream_stream, call, reads_one=False), call.read_next
    )


def _answering(handler: Callable[..., Any], call: _Call) -> Callable[..., Any]:
    async def answer(request: bytes, context: Context) -> bytes:
        left = cast("float | None", context.time_remaining())  # None without a deadline
        deadline.start(UNARY_DEADLINE if left is None else left)
        with call.counted(context):
            try:
                with call.holding(len(request)):
                    call.received()
                    try:
                        message = call.read_next(request)
                        if left is None:
                            answered = await _within(
                                UNARY_DEADLINE, handler(message, context), call
                            )
                        else:
                            # When it is over, gRPC cancels this task, and whatever it waits for.
                            answered = await handler(message, context)
                        raw = call.write(answered)
                    except grpc.aio.AbortError:
                        raise
                    except Exception as error:  # noqa: BLE001 # the caller must be told
                        # gRPC has the message until the call ends, so it is counted until then.
                        await abort(context, call.named(error))
                    except asyncio.CancelledError as error:
                        await abort(context, call.not_cancelled(error))
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001 # whatever it is, the caller must be told
                # The failure refers to this frame and would keep the message in memory.
                request = b""
                await abort(context, call.named(error))
        if COMPRESSED_FROM <= len(raw) <= COMPRESSED_UP_TO and _wants_compression(context):
            context.set_compression(grpc.Compression.Gzip)
            # What is sent together with a unary answer does not say how that is written.
            await context.send_initial_metadata(())
        return raw

    return answer


async def _within(seconds: float, answer: Awaitable[Any], call: _Call) -> Any:
    try:
        async with asyncio.timeout(seconds) as limit:
            return await answer
    except TimeoutError:
        if limit.expired():
            raise DeadlineExceeded(call.method, seconds)
        raise


def _collecting(handler: Callable[..., Any], call: _Call) -> Callable[..., Any]:
    async def answer(requests: AsyncIterator[Any], context: Context) -> bytes:
        call.received()
        with call.counted(context):
            try:
                async with aclosing(call.read_all(requests)) as messages:
                    return call.write(await handler(messages, context))
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001 # whatever it is, the caller must be told
                await abort(context, call.named(error))

    return answer


def _streaming(handler: Callable[..., Any], call: _Call, *, reads_one: bool) -> Callable[..., Any]:
    async def stream(request: Any, context: Context) -> AsyncIterator[bytes]:
        compressing = _wants_compression(context)
        if compressing:
            context.set_compression(grpc.Compression.Gzip)
        with call.counted(context), call.holding(0) as held:
            try:
                if reads_one:
                    request = await call.read_only(context, held)
                call.received()
                # Closed here, where its tasks end with it, and not whenever it is collected.
                async with aclosing(handler(request, context)) as responses:
                    request = None
                    async for response in responses:
                        # By its first response the handler has read the message.
                        held.release()
                        raw = call.write(response)
                        if compressing and not COMPRESSED_FROM <= len(raw) <= COMPRESSED_UP_TO:
                            context.disable_next_message_compression()
                        yield raw
            except grpc.aio.AbortError:
                raise
            except Exception as error:  # noqa: BLE001 # whatever it is, the caller must be told
                await abort(context, call.named(error))
            except asyncio.CancelledError as error:
                await abort(context, call.not_cancelled(error))

    return stream


def _refusing(error: SpinCycleError) -> Handler:
    async def refuse(_: AsyncIterator[bytes], context: Context) -> AsyncIterator[bytes]:
        await abort(context, error)
        yield b""

    return grpc.stream_stream_rpc_method_handler(refuse)


def _wants_compression(context: Context) -> bool:
    metadata = context.invocation_metadata() or ()
    return any(key == COMPRESSION and value == "gzip" for key, value in metadata)
