"""The gRPC server that every service runs: its own service, health, reflection, channelz."""

from __future__ import annotations

from collections import Counter

import grpc
from grpc_channelz.v1 import channelz

from spincycle.config import ConfigError
from spincycle.rpc.calls import CallInterceptor, Check
from spincycle.rpc.health import SERVICE_NAME as HEALTH
from spincycle.rpc.health import Health
from spincycle.rpc.limits import (
    CONNECTION_AGE,
    KEEPALIVE_OF_SERVERS,
    KEEPALIVE_PATIENCE,
    LEAST_PING_INTERVAL,
    LIMITS,
    milliseconds,
)
from spincycle.rpc.reflection import add_reflection

CHANNELZ = "grpc.channelz.v1.Channelz"


class RpcServer:
    """A server for one service of ours, named in full, with what operators expect beside it.

    Args:
        service_name: the service, in full.
        listen: host:port.
        check: looks at the request of every call that has one before its handler does.
        credentials: for TLS; None to serve without.
        connection_age: seconds after which a client is to open another connection.

    Attributes:
        calls: how many calls ended, by method and gRPC code.
    """

    def __init__(
        self,
        service_name: str,
        listen: str,
        check: Check | None = None,
        credentials: grpc.ServerCredentials | None = None,
        connection_age: float = CONNECTION_AGE,
    ) -> None:
        self._credentials = credentials
        self._listen = listen
        self.calls: Counter[tuple[str, str]] = Counter()
        self.server = grpc.aio.server(
            interceptors=[CallInterceptor(self.calls, check)],
            options=[
                *LIMITS,
                ("grpc.so_reuseport", 0),
                ("grpc.keepalive_time_ms", milliseconds(KEEPALIVE_OF_SERVERS)),
                ("grpc.keepalive_timeout_ms", milliseconds(KEEPALIVE_PATIENCE)),
                (
                    "grpc.http2.min_ping_interval_without_data_ms",
                    milliseconds(LEAST_PING_INTERVAL),
                ),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.max_connection_age_ms", milliseconds(connection_age)),
            ],
        )
        self.health = Health(self.server, service_name)
        channelz.add_channelz_servicer(self.server)
        add_reflection(self.server, (service_name, HEALTH, CHANNELZ))

    def bind(self) -> int:
        """Take the port to listen on; answer it, since the system chooses it if it is to be 0.

        Raises:
            ConfigError: the address is taken or cannot be used.
        """
        try:
            if self._credentials is not None:
                return self.server.add_secure_port(self._listen, self._credentials)
            return self.server.add_insecure_port(self._listen)
        except RuntimeError:
            raise ConfigError(f"cannot listen on {self._listen}: is another process using it?")

    async def start(self) -> None:
        """Begin to answer calls."""
        await self.health.begin()
        await self.server.start()

    async def stop(self, grace: float) -> None:
        """End the calls in flight within `grace` seconds, then all."""
        await self.health.end()
        await self.server.stop(grace)
