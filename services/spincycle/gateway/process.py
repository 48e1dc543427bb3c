"""The gateway process: builds its components and serves until shutdown."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter

import structlog

from spincycle.access.authenticators import open_authentication
from spincycle.gateway.app import Application
from spincycle.gateway.config import GatewayConfig
from spincycle.gateway.cors import CrossOrigin
from spincycle.gateway.error_responses import error_response, legacy_error_response
from spincycle.gateway.hosts import AllowedHosts
from spincycle.gateway.limits import limited_protocol
from spincycle.gateway.openapi import openapi_route
from spincycle.gateway.router import Route, Router
from spincycle.gateway.routes.access import AccessRoutes
from spincycle.gateway.routes.actions import ActionRoutes
from spincycle.gateway.routes.audit import AuditRoutes
from spincycle.gateway.routes.events import EventRoutes
from spincycle.gateway.routes.full import FullRoutes
from spincycle.gateway.routes.health import HealthRoutes
from spincycle.gateway.routes.job_runner import JobRunnerRoutes
from spincycle.gateway.routes.journal import JournalRoutes
from spincycle.gateway.routes.requests import RequestRoutes
from spincycle.gateway.routes.runner_calls import RunnerCallRoutes
from spincycle.gateway.routes.running import RunningRoutes
from spincycle.gateway.service_clients import ServiceClients, open_service_clients
from spincycle.gateway.tls import ApiTls
from spincycle.identity.service_identity import GATEWAY, JOB_LOG, REQUEST_MANAGER
from spincycle.metrics.registry import Metrics
from spincycle.metrics.serving import serve_metrics
from spincycle.rpc.certificate_expiry import CertificateExpiry
from spincycle.rpc.dialer import Dialer
from spincycle.rpc.peer import Peer
from spincycle.runtime.config import ConfigError
from spincycle.runtime.http_listener import HttpListener, Https, address_of, bind, split
from spincycle.runtime.loop_monitor import LoopMonitor
from spincycle.runtime.loopback import check_plaintext, is_loopback
from spincycle.runtime.process import Shutdown, service_command, supervise


class Gateway:
    """The listeners of the gateway and their applications.

    Raises:
        ConfigError: an address is not host:port, is in use, or is not on loopback although it
            must be; a name in `hosts` is not a host name; or a file of `tls` is invalid.
    """

    def __init__(self, config: GatewayConfig, clients: ServiceClients) -> None:
        _check_addresses(config)
        self._config = config
        self.authentication = open_authentication(config.auth, config.listen)
        self._hosts = AllowedHosts(config.hosts)
        self._cross_origin = CrossOrigin(config.cross_origins)
        self._events = EventRoutes(
            clients.request_manager,
            config.keepalive,
            config.max_event_streams,
            config.max_event_streams_per_caller,
        )
        public = self._public_routes(clients)
        self.router = Router([*public, openapi_route(public)])
        self._applications: list[Application] = []
        self.tls = ApiTls.open(config.tls)
        limits = config.limits
        https = None
        if self.tls is not None:
            https = Https(self.tls.context, limits.header_timeout, limits.answer_timeout)
        self._api = self._listener(self.router, bind(config.listen), https)
        self._legacy: HttpListener | None = None
        if config.legacy_runner_listen:
            calls = RunnerCallRoutes(
                clients.request_manager, clients.coordination, clients.journal
            ).routes()
            routes = [*public, *calls]
            self._legacy = self._listener(
                Router([*routes, openapi_route(routes)]),
                bind(config.legacy_runner_listen, "legacy_runner_listen"),
            )
        self._runner = (
            _runner_listener(config, clients, self._hosts) if config.job_runner_listen else None
        )
        self._listeners = [one for one in (self._api, self._legacy, self._runner) if one]
        self.metrics = Metrics()
        self.metrics.counter(
            "spincycle_http_calls",
            "Completed HTTP calls, by method and status",
            self._calls,
            labels=("method", "status"),
        )
        self.metrics.authentications(self.authentication.outcomes)

    def _public_routes(self, clients: ServiceClients) -> list[Route]:
        manager, page_size = clients.request_manager, self._config.page_size
        return [
            *RequestRoutes(manager, clients.specs, page_size).routes(),
            *JournalRoutes(clients.job_log).routes(),
            *RunningRoutes(manager).routes(),
            *FullRoutes(manager, clients.specs, clients.job_log, page_size).routes(),
            *ActionRoutes(manager, clients.specs).routes(),
            *AccessRoutes(clients.access).routes(),
            *AuditRoutes(clients.audit).routes(),
            *self._events.routes(),
            *HealthRoutes(clients).routes(),
        ]

    def _calls(self) -> dict[tuple[str, ...], float]:
        calls = sum((each.calls for each in self._applications), Counter[tuple[str, str]]())
        return {key: float(count) for key, count in calls.items()}

    def _listener(
        self, router: Router, bound: socket.socket, https: Https | None = None
    ) -> HttpListener:
        config = self._config
        api = Application(
            router,
            error_response,
            config.limits,
            config.gzip_bytes,
            self._hosts,
            self._cross_origin,
            self.authentication,
        )
        self._applications.append(api)
        return HttpListener(api, bound, limited_protocol(config.limits), config.grace, https)

    @property
    def address(self) -> str:
        """Address of the API, host:port."""
        return self._api.address

    @property
    def legacy_runner_address(self) -> str:
        """Address of the API with the original runners' routes, host:port; empty if off."""
        return self._legacy.address if self._legacy else ""

    @property
    def runner_address(self) -> str:
        """Address of the routes of a job runner, host:port; empty if off."""
        return self._runner.address if self._runner else ""

    async def serve(self) -> None:
        """Serve until `end` is called."""
        async with asyncio.TaskGroup() as tasks:
            for listener in self._listeners:
                tasks.create_task(listener.serve())

    def end(self) -> None:
        """Stop accepting calls; `serve` returns when those in flight have completed."""
        self._events.end()
        for listener in self._listeners:
            listener.end()


def _check_addresses(config: GatewayConfig) -> None:
    """Check which addresses other machines can reach.

    Routes with which any caller can change running requests must be on loopback.

    Raises:
        ConfigError: the API would be plaintext for other machines without being allowed to,
            another address is not on loopback, or there is one that a gateway does not have.
    """
    split(config.listen, "listen")
    if config.auth.certificates.listen:
        raise ConfigError(
            "auth.certificates.listen: a gateway asks for certificates on its own listener: set "
            "tls.client_ca, and leave this key to request managers and job logs"
        )
    if config.tls.certificate is None:
        check_plaintext(
            config.listen,
            "listen",
            allowed=config.tls.allow_plaintext,
            encrypt="set tls.certificate and tls.key, or listen on 127.0.0.1 behind a proxy that "
            "serves TLS",
        )
    for setting in ("legacy_runner_listen", "job_runner_listen"):
        listen: str = getattr(config, setting)
        if listen and not is_loopback(listen):
            raise ConfigError(
                f"{setting}: {listen} is not a loopback address; any caller of these routes "
                "can change running requests"
            )


def _runner_listener(
    config: GatewayConfig, clients: ServiceClients, hosts: AllowedHosts
) -> HttpListener:
    bound = bind(config.job_runner_listen, "job_runner_listen")
    base_url = config.job_runner_advertise or f"http://{address_of(bound)}"
    router = Router(JobRunnerRoutes(clients.job_runner, base_url).routes())
    application = Application(
        router, legacy_error_response, config.limits, config.gzip_bytes, hosts, CrossOrigin(())
    )
    return HttpListener(application, bound, limited_protocol(config.limits), config.grace)


async def serve(config: GatewayConfig, shutdown: Shutdown) -> None:
    """Serve until `shutdown`."""
    dialer = Dialer(config.internal, GATEWAY)
    expiry = CertificateExpiry(config.internal, config.tls)
    clients = open_service_clients(
        config.request_manager,
        config.job_log,
        config.job_runner,
        config.backend_timeout,
        dialer,
    )
    try:
        gateway = Gateway(config, clients)
        structlog.get_logger().info(
            "listening",
            address=gateway.address,
            legacy_runner_address=gateway.legacy_runner_address,
            job_runner_address=gateway.runner_address,
        )
        gateway.metrics.certificate_expiry(expiry.seconds, expiry.refresh)
        monitor = LoopMonitor()
        gateway.metrics.event_loop_lag(monitor.lags)
        async with (
            serve_metrics(gateway.metrics, config.metrics),
            monitor,
            asyncio.TaskGroup() as tasks,
        ):
            tasks.create_task(gateway.serve())
            background = [
                tasks.create_task(peer.check())
                for peer in (
                    Peer(
                        "request_manager",
                        config.request_manager,
                        "spincycle.internal.v1.RunnerCoordinationService",
                        dialer.to(REQUEST_MANAGER),
                    ),
                    Peer(
                        "job_log",
                        config.job_log,
                        "spincycle.internal.v1.JournalService",
                        dialer.to(JOB_LOG),
                    ),
                )
            ]
            duties = {
                "certificates": dialer.watch,
                "expiry of certificates": expiry.watch,
                "credentials of callers": gateway.authentication.watch,
            }
            if gateway.tls is not None:
                duties["certificate of the API"] = gateway.tls.watch
            background += [
                tasks.create_task(supervise(name, duty)) for name, duty in duties.items()
            ]
            await shutdown.wait()
            for task in background:
                task.cancel()
            gateway.end()
    finally:
        await clients.close()


main = service_command("gateway", GatewayConfig, serve)
