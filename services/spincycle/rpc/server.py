"""The gRPC server of a service process: one listener per audience, each with its own limits."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import grpc
from grpc_channelz.v1 import channelz

from spincycle.rpc.address import host_of, is_unix, socket_path
from spincycle.rpc.calls import CallInterceptor, Check
from spincycle.rpc.health import SERVICE_NAME as HEALTH_SERVICE
from spincycle.rpc.health import Health
from spincycle.rpc.in_flight import BytesInFlight, ReadSlots
from spincycle.rpc.limits import (
    CONNECTION_AGE,
    HEALTH,
    INTERNAL,
    KEEPALIVE_OF_SERVERS,
    LEAST_PING_INTERVAL,
    MAX_MESSAGE_BYTES,
    READ_PATIENCE,
    Audience,
    Keepalive,
    milliseconds,
)
from spincycle.rpc.listen_address import check_listen
from spincycle.rpc.reflection import add_reflection
from spincycle.rpc.texts import check_texts
from spincycle.rpc.tls import server_credentials
from spincycle.runtime import forked_sockets
from spincycle.runtime.config import ConfigError, TlsConfig
from spincycle.runtime.loopback import check_plaintext

CHANNELZ = "grpc.channelz.v1.Channelz"

NO_TLS = TlsConfig()
"""Listeners without TLS."""

SOCKET_MODE = 0o660
"""Of a Unix socket: no other account may connect, whatever the mode of the directory."""


@dataclass(frozen=True, slots=True)
class RpcService:
    """A gRPC service that a listener can serve.

    Attributes:
        name: full name, for example spincycle.v1.SpecService.
        register: adds its methods to a server, as the generated `add_…_to_server` do.
    """

    name: str
    register: Callable[[grpc.aio.Server], None]


class Listener:
    """One address with the services that it serves.

    Attributes:
        audience: the callers that it is for.
        address: host:port with the port in use, or unix:/path.
    """

    def __init__(
        self,
        audience: Audience,
        listen: str,
        server: grpc.aio.Server,
        credentials: grpc.ServerCredentials | None,
    ) -> None:
        self.audience = audience
        self.names: list[str] = []
        self._server = server
        self.address = self._bind(listen, credentials)

    def serve(self, *services: RpcService) -> Listener:
        """Serve these services, from the server's start on."""
        for service in services:
            service.register(self._server)
            self.names.append(service.name)
        return self

    def describe(self) -> None:
        """Serve reflection of what this listener serves, and channelz for services only."""
        standard = [HEALTH_SERVICE]
        if self.audience is INTERNAL:
            channelz.add_channelz_servicer(self._server)
            standard.append(CHANNELZ)
        add_reflection(self._server, (*self.names, *standard))

    async def start(self) -> None:
        """Start to accept calls."""
        forked_sockets.close_in_children(self.address)
        await self._server.start()

    async def stop(self, grace: float) -> None:
        """Refuse new calls and end those in flight within `grace` seconds."""
        await self._server.stop(grace)
        forked_sockets.forget(self.address)

    def _bind(self, listen: str, credentials: grpc.ServerCredentials | None) -> str:
        try:
            if credentials is None:
                port = self._server.add_insecure_port(listen)
            else:
                port = self._server.add_secure_port(listen, credentials)
        except RuntimeError:
            raise ConfigError(f"cannot listen on {listen}: {_reason(listen)}")
        if is_unix(listen):
            Path(socket_path(listen)).chmod(SOCKET_MODE)
            return listen
        return f"{host_of(listen)}:{port}"


class RpcServer:
    """All listeners of a process, started and stopped together.

    Args:
        check: checks each message of a caller before a handler gets it.
        tls: certificates of the public and the internal listener. Unix sockets and the health
            listener never use TLS.
        connection_age: seconds after which clients are asked to open another connection.
        keepalive: when the server notices that a client is frozen or cut off.

    Attributes:
        calls: number of calls that ended, by method and gRPC code.
        health: what all listeners report about the process.
    """

    def __init__(
        self,
        check: Check = check_texts,
        tls: TlsConfig = NO_TLS,
        connection_age: float = CONNECTION_AGE,
        keepalive: Keepalive = KEEPALIVE_OF_SERVERS,
    ) -> None:
        self._check = check
        self._tls = tls
        self._connection_age = connection_age
        self._keepalive = keepalive
        self._listeners: list[Listener] = []
        self._in_flight: dict[str, BytesInFlight] = {}
        self.calls: Counter[tuple[str, str]] = Counter()
        self.health = Health()

    @property
    def addresses(self) -> dict[str, str]:
        """Address of each listener by the name of its audience."""
        return {listener.audience.name: listener.address for listener in self._listeners}

    def bytes_in_flight(self) -> dict[str, int]:
        """Bytes that the messages of calls in flight hold, by the name of the listener."""
        return {name: in_flight.held for name, in_flight in self._in_flight.items()}

    def listen(self, audience: Audience, address: str) -> Listener:
        """Bind an address: host:port, or unix:/path of a socket.

        Raises:
            ConfigError: the address is in use or invalid, a certificate cannot be read, or other
            machines would connect in plain text without `tls.allow_plaintext`.
        """
        check_listen(address, audience.setting)
        credentials = self._credentials(audience, address)
        in_flight = self._in_flight[audience.name] = BytesInFlight(audience.bytes_in_flight)
        interceptor = CallInterceptor(
            self.calls,
            in_flight,
            self._check,
            ReadSlots(audience.reads, READ_PATIENCE) if audience.reads else None,
            ReadSlots(audience.stream_reads, READ_PATIENCE) if audience.stream_reads else None,
        )
        server = grpc.aio.server(
            interceptors=[interceptor],
            options=[
                ("grpc.max_receive_message_length", audience.request_bytes),
                ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
                ("grpc.max_concurrent_streams", audience.streams),
                ("grpc.so_reuseport", 0),
                *self._keepalive.options,
                (
                    "grpc.http2.min_ping_interval_without_data_ms",
                    milliseconds(LEAST_PING_INTERVAL),
                ),
                ("grpc.max_connection_age_ms", milliseconds(self._connection_age)),
            ],
        )
        listener = Listener(audience, address, server, credentials)
        self.health.add_to(server, listener.names)
        self._listeners.append(listener)
        return listener

    def _credentials(self, audience: Audience, address: str) -> grpc.ServerCredentials | None:
        """Credentials of one listener, since gRPC uses them for one port only; None without TLS.

        A health listener may be plain text anywhere: it says nothing but whether the process can
        work.
        """
        credentials = server_credentials(self._tls)
        if audience is HEALTH or is_unix(address):
            return None
        if credentials is None:
            check_plaintext(
                address,
                audience.setting,
                self._tls.allow_plaintext,
                "set tls.certificate and tls.key",
            )
        return credentials

    def listen_for_probes(self, address: str) -> None:
        """Serve health alone on an address of its own; an empty address means none."""
        if address:
            self.listen(HEALTH, address)

    async def start(self) -> None:
        """Start to accept calls on every listener."""
        await self.health.begin()
        for listener in self._listeners:
            listener.describe()
            await listener.start()

    async def stop(self, grace: float) -> None:
        """Refuse new calls and end those in flight within `grace` seconds."""
        await self.health.end()
        await asyncio.gather(*(listener.stop(grace) for listener in self._listeners))


def _reason(listen: str) -> str:
    if is_unix(listen):
        return "may this account write to its directory?"
    return "is another process using it?"
