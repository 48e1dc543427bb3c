"""One method of a server: its messages, its errors and its admission."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import suppress
from typing import Any, TypeAlias, cast

import grpc
import structlog
from google.protobuf.message import Message

from spincycle.access.credential_limit import CredentialLimit
from spincycle.errors import (
    CallerNotAllowed,
    Internal,
    MessageTooLarge,
    NotAuthenticated,
    NotIdentified,
    NotYours,
    OutOfMemory,
    SpinCycleError,
    UnknownMethod,
    UnreadableMessage,
)
from spincycle.rpc.admission import Admission
from spincycle.rpc.identification import OnRefusal, RefusedCall, caller_id
from spincycle.rpc.in_flight import BytesInFlight, Held, ReadSlots
from spincycle.rpc.limits import MAX_MESSAGE_BYTES

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context = grpc.aio.ServicerContext[Any, Any]
Check = Callable[[Message, bytes], None]
"""Validates a request, given the message and its encoded bytes."""

OK = grpc.StatusCode.OK.name
CANCELLED = grpc.StatusCode.CANCELLED.name

REFUSAL_DELAY = 1.0
"""Seconds that a caller has to send its first message before its stream is refused."""

NOT_WRITTEN = "Method not implemented!"
"""Message of the NotImplementedError that generated code raises for an unimplemented method."""


class Method:
    """Reads and writes the messages of one method."""

    def __init__(
        self,
        method: str,
        handler: Handler,
        check: Check,
        calls: Counter[tuple[str, str]],
        in_flight: BytesInFlight,
        slots: ReadSlots | None,
        admission: Admission | None,
        on_refusal: OnRefusal,
    ) -> None:
        self.method = method
        self._admission = admission
        self._on_refusal = on_refusal
        self._in_flight = in_flight
        self._slots = slots
        self._name = method.removeprefix("/")
        self._calls = calls
        self._check = check
        self._parse = handler.request_deserializer or bytes
        self._serialize = handler.response_serializer or bytes

    async def admit(self, context: Context) -> CredentialLimit | None:
        """Check that the caller may make the call; return the limit of a stream.

        Raises:
            SpinCycleError: it may not, see Admission.
        """
        if self._admission is None:
            return None
        return await self._admission.admit(self.method, context)

    async def admit_stream(self, context: Context) -> CredentialLimit | None:
        """Check that the caller may make a call with a stream of requests; return its limit.

        The first message is received before a refusal: gRPC for Python may report INTERNAL to a
        caller whose stream ends before it could send anything.

        Raises:
            SpinCycleError: it may not, see Admission.
        """
        try:
            return await self.admit(context)
        except SpinCycleError:
            # The message may be unreadable, or have limits of its own.
            with suppress(TimeoutError, SpinCycleError):
                async with asyncio.timeout(REFUSAL_DELAY):
                    await context.read()
            raise

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

    def translate(self, error: Exception, context: Context) -> SpinCycleError:
        """Return the entry of the catalogue for an exception."""
        if isinstance(error, NotIdentified | CallerNotAllowed | NotYours | NotAuthenticated):
            self._on_refusal(RefusedCall(self.method, caller_id(), context.peer(), error))
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
