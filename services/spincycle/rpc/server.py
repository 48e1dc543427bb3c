"""The gRPC server that every service runs: its own service, health, reflection, channelz."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, TypeVar

import grpc
import structlog
from google.protobuf.message import Message
from grpc_channelz.v1 import channelz
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from spincycle.config import ConfigError
from spincycle.errors import Internal, SpinCycleError
from spincycle.rpc.channel import LIMITS
from spincycle.rpc.status import abort

CHANNELZ = "grpc.channelz.v1.Channelz"

LIVENESS = "liveness"
"""What health checks ask about to learn whether the process answers, whatever it lacks."""

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

Check = Callable[[Message], None]

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")


class RpcServer:
    """A server for one service of ours, named in full, with what operators expect beside it.

    Health is reported for the server as a whole ("") and for the service; both begin as
    NOT_SERVING, and `set_serving` tells what is true. The name "liveness" is SERVING from start
    to stop: a process that waits for another one must not be killed for that.

    Args:
        service_name: the service, in full.
        listen: host:port.
        check: looks at the request of every call that has one before its handler does.
    """

    def __init__(self, service_name: str, listen: str, check: Check | None = None) -> None:
        self._service_name = service_name
        self._listen = listen
        self._health = health.aio.HealthServicer()
        self._serving: bool | None = None
        self.server = grpc.aio.server(
            interceptors=[CatalogueInterceptor(check)],
            options=[
                *LIMITS,
                ("grpc.so_reuseport", 0),
                ("grpc.keepalive_time_ms", 20_000),
                ("grpc.keepalive_timeout_ms", 5_000),
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
                ("grpc.keepalive_permit_without_calls", 1),
            ],
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)
        channelz.add_channelz_servicer(self.server)
        reflection.enable_server_reflection(
            [
                service_name,
                health.SERVICE_NAME,
                reflection.SERVICE_NAME,
                CHANNELZ,
            ],
            self.server,
        )

    def bind(self) -> int:
        """Take the port to listen on; answer it, since the system chooses it if it is to be 0.

        Raises:
            ConfigError: the address is taken or cannot be used.
        """
        try:
            return self.server.add_insecure_port(self._listen)
        except RuntimeError:
            raise ConfigError(f"cannot listen on {self._listen}: is another process using it?")

    async def start(self) -> None:
        """Begin to answer calls."""
        await self.set_serving(False)
        await self._health.set(LIVENESS, _SERVING)
        await self.server.start()

    async def set_serving(self, serving: bool) -> None:
        """Tell health checks whether the work path is alive."""
        if serving is self._serving:
            return
        self._serving = serving
        status = _SERVING if serving else _NOT_SERVING
        for name in ("", self._service_name):
            await self._health.set(name, status)

    async def stop(self, grace: float) -> None:
        """End the calls in flight within `grace` seconds, then all."""
        await self._health.enter_graceful_shutdown()
        await self.server.stop(grace)


class CatalogueInterceptor(grpc.aio.ServerInterceptor):
    """Sends every failure of a handler as an entry of the catalogue.

    What is not in the catalogue is logged whole under an incident number, which is all
    that the caller is told. `check` refuses a request by raising such an entry.
    """

    def __init__(self, check: Check | None = None) -> None:
        self._check = check or _unchecked

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Asked, Answered] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Asked, Answered] | None:
        """Wrap the handler of the call."""
        handler = await continuation(handler_call_details)
        method = str(handler_call_details.method)
        if handler is None or not method.startswith("/spincycle."):
            return handler
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(
                _answering(handler.unary_unary, method, self._check),
                handler.request_deserializer,
                handler.response_serializer,
            )
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(
                _streaming(handler.unary_stream, method, self._check),
                handler.request_deserializer,
                handler.response_serializer,
            )
        if handler.stream_stream:
            return grpc.stream_stream_rpc_method_handler(
                _streaming(handler.stream_stream, method, _unchecked),
                handler.request_deserializer,
                handler.response_serializer,
            )
        return handler


def _unchecked(_: Message) -> None:
    """Take any request."""


def _answering(handler: Callable[..., Any], method: str, check: Check) -> Callable[..., Any]:
    async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        try:
            check(request)
            return await handler(request, context)
        except grpc.aio.AbortError:
            raise
        except Exception as error:  # noqa: BLE001 # whatever it is, the caller must be told
            await abort(context, _named(error, method))

    return answer


def _streaming(handler: Callable[..., Any], method: str, check: Check) -> Callable[..., Any]:
    async def stream(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        try:
            check(request)
            # Closed here, where its tasks end with it, and not whenever it is collected.
            async with aclosing(handler(request, context)) as responses:
                async for response in responses:
                    yield response
        except grpc.aio.AbortError:
            raise
        except Exception as error:  # noqa: BLE001 # whatever it is, the caller must be told
            await abort(context, _named(error, method))

    return stream


def _named(error: Exception, method: str) -> SpinCycleError:
    if isinstance(error, SpinCycleError):
        return error
    incident = secrets.token_hex(4)
    structlog.get_logger().error("call failed", method=method, incident=incident, exc_info=error)
    return Internal(incident)


async def keep_health(
    server: RpcServer, checks: Sequence[Callable[[], bool]], interval: float = 1.0
) -> None:
    """Report health from `checks`, all of which must hold, until cancelled."""
    while True:
        await server.set_serving(all(check() for check in checks))
        await asyncio.sleep(interval)
