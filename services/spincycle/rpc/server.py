"""The gRPC server of a service process: one listener per audience, each with its own limits."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
import msgspec
from grpc_channelz.v1 import channelz

from spincycle.access.authentication import Authentication
from spincycle.access.config import CertificatesConfig
from spincycle.identity.caller_table import CallerTable
from spincycle.rpc.address import host_of, is_unix, socket_path
from spincycle.rpc.admission import Admission, InternalAdmission, PublicAdmission
from spincycle.rpc.calls import CallInterceptor
from spincycle.rpc.health import SERVICE_NAME as HEALTH_SERVICE
from spincycle.rpc.health import Health
from spincycle.rpc.identification import (
    CertificateIdentification,
    Identification,
    OnRefusal,
    RefusalCounter,
    TokenIdentification,
    log_refusal,
)
from spincycle.rpc.in_flight import BytesInFlight, ReadSlots
from spincycle.rpc.limits import (
    CERTIFIED,
    CONNECTION_AGE,
    HEALTH,
    INTERNAL,
    MAX_MESSAGE_BYTES,
    MIN_PING_INTERVAL,
    PUBLIC,
    READ_TIMEOUT,
    SERVER_KEEPALIVE,
    STREAM_GRACE,
    Audience,
    Keepalive,
    milliseconds,
)
from spincycle.rpc.listen_address import check_listen
from spincycle.rpc.method import Check
from spincycle.rpc.reflection import add_reflection
from spincycle.rpc.texts import check_texts
from spincycle.rpc.tls import internal_credentials, public_credentials
from spincycle.runtime import forked_sockets
from spincycle.runtime.config import ConfigError, InternalConfig, TlsConfig
from spincycle.runtime.loopback import check_plaintext

CHANNELZ = "grpc.channelz.v1.Channelz"

NO_TLS = TlsConfig()
"""Public listeners without TLS."""

NO_IDENTITIES = InternalConfig()
"""No means of identifying the other services."""

ALL_SERVICES = CallerTable()
"""The rows of all services, without those for legacy calls."""

SOCKET_MODE = 0o660
"""Mode of a Unix socket: other accounts cannot connect, whatever the mode of its directory."""


@dataclass(frozen=True, slots=True)
class RpcService:
    """A gRPC service that a listener can serve.

    Attributes:
        name: full name, for example spincycle.v1.SpecService.
        register: adds its methods to a server, like the generated `add_…_to_server`.
    """

    name: str
    register: Callable[[grpc.aio.Server], None]


class Listener:
    """Serves gRPC services on one address.

    Attributes:
        audience: the callers of the listener.
        address: host:port with the bound port, or unix:/path.
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
        """Add services; they are available when the server starts."""
        for service in services:
            service.register(self._server)
            self.names.append(service.name)
        return self

    def add_introspection(self) -> None:
        """Add reflection of the listener's services, and channelz on the internal listener."""
        standard = [HEALTH_SERVICE]
        if self.audience is INTERNAL:
            channelz.add_channelz_servicer(self._server)
            standard.append(CHANNELZ)
        add_reflection(self._server, (*self.names, *standard))

    async def start(self) -> None:
        """Start accepting calls."""
        forked_sockets.close_in_children(self.address)
        await self._server.start()

    async def stop(self, grace: float) -> None:
        """Reject new calls, and cancel those that are still in flight after `grace` seconds."""
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
    """Starts and stops all listeners of a process together.

    Args:
        check: validation of each request message before the handler gets it.
        tls: certificates of the public listener. Unix sockets and the health listener never use
            TLS.
        internal: how the internal listener identifies its callers.
        callers: what the services may call on the internal listener.
        on_refusal: receives the calls that were refused for want of an identity or a right.
        authentication: authenticates people and programs; None for a process without methods for
            them.
        service: service of this process, which its own certificate must be for; empty for any.
        connection_age: seconds after which a connection is closed gracefully.
        stream_grace: seconds after which streams on such a connection end, on an internal listener
            with TLS.
        keepalive: keepalive settings of the server.

    Attributes:
        calls: number of calls that ended, by method and gRPC code.
        health: health of the process, served on all listeners.
    """

    def __init__(
        self,
        check: Check = check_texts,
        tls: TlsConfig = NO_TLS,
        internal: InternalConfig = NO_IDENTITIES,
        callers: CallerTable = ALL_SERVICES,
        on_refusal: OnRefusal = log_refusal,
        *,
        authentication: Authentication | None = None,
        service: str = "",
        connection_age: float = CONNECTION_AGE,
        stream_grace: float = STREAM_GRACE,
        keepalive: Keepalive = SERVER_KEEPALIVE,
    ) -> None:
        self._check = check
        self._tls = tls
        self._internal = internal
        self._callers = callers
        self._authentication = authentication
        self._service = service
        self._client_ca: Path | None = None
        self._refusals = RefusalCounter(on_refusal)
        self._connection_age = connection_age
        self._stream_grace = stream_grace
        self._keepalive = keepalive
        self._listeners: list[Listener] = []
        self._in_flight: dict[str, BytesInFlight] = {}
        self.calls: Counter[tuple[str, str]] = Counter()
        self.health = Health()

    @property
    def addresses(self) -> dict[str, str]:
        """Address of each listener by the name of its audience."""
        return {listener.audience.name: listener.address for listener in self._listeners}

    @property
    def refusals(self) -> Mapping[tuple[str, str], int]:
        """Numbers of refused calls by method, package.Service/Method, and error reason."""
        return self._refusals.counts

    def bytes_in_flight(self) -> dict[str, int]:
        """Return the bytes that the messages of calls in flight hold, by name of the listener."""
        return {name: in_flight.held for name, in_flight in self._in_flight.items()}

    def listen(self, audience: Audience, address: str) -> Listener:
        """Bind an address: host:port, or unix:/path of a socket.

        Raises:
            ConfigError: the address is in use or invalid, a certificate cannot be read, other
                machines could connect in plain text without `tls.allow_plaintext`, or callers of
                an internal listener could not be identified without `internal.allow_unidentified`.
        """
        check_listen(address, audience.setting)
        credentials = self._credentials(audience, address)
        in_flight = self._in_flight[audience.name] = BytesInFlight(audience.bytes_in_flight)
        admission = self._admission(audience, address)
        interceptor = CallInterceptor(
            self.calls,
            in_flight,
            self._check,
            ReadSlots(audience.reads, READ_TIMEOUT) if audience.reads else None,
            ReadSlots(audience.stream_reads, READ_TIMEOUT) if audience.stream_reads else None,
            admission,
            self._refusals,
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
                    milliseconds(MIN_PING_INTERVAL),
                ),
                ("grpc.max_connection_age_ms", milliseconds(self._connection_age)),
                *self._stream_limit(audience, credentials),
            ],
        )
        listener = Listener(audience, address, server, credentials)
        if isinstance(admission, PublicAdmission):
            admission.listen = listener.address
        self.health.add_to(server, listener.names)
        self._listeners.append(listener)
        return listener

    def _stream_limit(
        self, audience: Audience, credentials: grpc.ServerCredentials | None
    ) -> list[tuple[str, int]]:
        if audience is not INTERNAL or credentials is None:
            return []
        return [("grpc.max_connection_age_grace_ms", milliseconds(self._stream_grace))]

    def listen_for_certificates(
        self, config: CertificatesConfig, services: Sequence[RpcService]
    ) -> None:
        """Serve callers with client certificates on a separate address, if one is configured.

        Raises:
            ConfigError: as `listen`; or there is no TLS, or no CA of the clients.
        """
        if not config.listen:
            return
        self._client_ca = config.ca
        if config.ca is None or self._tls.certificate is None:
            raise ConfigError(
                f"{CERTIFIED.setting}: set auth.certificates.ca, tls.certificate and tls.key, too"
            )
        self.listen(CERTIFIED, config.listen).serve(*services)

    def _credentials(self, audience: Audience, address: str) -> grpc.ServerCredentials | None:
        """Return the credentials of one listener; None without TLS.

        gRPC can use credentials for one port only. A health listener may use plain text on any
        address: it reveals only the health of the process.
        """
        if audience is INTERNAL:
            credentials = internal_credentials(self._internal, self._service)
            return None if is_unix(address) else credentials
        tls = self._tls
        if audience is CERTIFIED:
            tls = msgspec.structs.replace(tls, client_ca=self._client_ca)
        credentials = public_credentials(tls)
        if audience is HEALTH or is_unix(address):
            return None
        if credentials is None:
            check_plaintext(
                address,
                audience.setting,
                allowed=self._tls.allow_plaintext,
                encrypt="set tls.certificate and tls.key",
            )
        return credentials

    def _admission(self, audience: Audience, address: str) -> Admission | None:
        """Return the admission of a listener; None if it admits everybody."""
        if audience in (PUBLIC, CERTIFIED) and self._authentication is not None:
            return PublicAdmission(self._authentication, address)
        if audience is not INTERNAL:
            return None
        identification = _identification(self._internal, address)
        if identification is None and not self._internal.allow_unidentified:
            means = (
                "set internal.token and internal.tokens"
                if is_unix(address)
                else "set internal.certificate, internal.key and internal.ca"
            )
            raise ConfigError(
                f"{INTERNAL.setting}: callers of {address} could not be identified, and everybody "
                f"who reaches it could run commands on job runners: {means}, or set "
                "internal.allow_unidentified: true to accept that"
            )
        return InternalAdmission(identification, self._callers, self._authentication)

    def listen_for_probes(self, address: str) -> None:
        """Serve only health on a separate address; an empty address means none."""
        if address:
            self.listen(HEALTH, address)

    async def start(self) -> None:
        """Start accepting calls on every listener."""
        await self.health.start()
        for listener in self._listeners:
            listener.add_introspection()
            await listener.start()

    async def stop(self, grace: float) -> None:
        """Reject new calls, and cancel those that are still in flight after `grace` seconds."""
        await self.health.drain()
        await asyncio.gather(*(listener.stop(grace) for listener in self._listeners))


def identifies_callers(config: InternalConfig) -> bool:
    """Return whether the internal listener identifies its callers.

    Raises:
        ConfigError: `internal.tokens` is invalid.
    """
    return _identification(config, config.listen) is not None


def _identification(config: InternalConfig, address: str) -> Identification | None:
    if not is_unix(address):
        return CertificateIdentification(config.trust_domain) if config.ca else None
    if not config.tokens:
        return None
    try:
        return TokenIdentification(config.tokens)
    except ValueError as error:
        raise ConfigError(f"internal.tokens: {error}")


def _reason(listen: str) -> str:
    if is_unix(listen):
        return "may this account write to its directory?"
    return "is another process using it?"
