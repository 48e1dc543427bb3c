"""The gateway process: its parts, put together."""

from __future__ import annotations

import asyncio

import structlog

from spincycle.gateway.app import Application
from spincycle.gateway.backends import Backends, open_backends
from spincycle.gateway.config import GatewayConfig
from spincycle.gateway.cors import CrossOrigin
from spincycle.gateway.failures import refused, told
from spincycle.gateway.limits import limited
from spincycle.gateway.openapi import openapi_route
from spincycle.gateway.router import Router
from spincycle.gateway.routes.actions import ActionRoutes
from spincycle.gateway.routes.events import EventRoutes
from spincycle.gateway.routes.full import FullRoutes
from spincycle.gateway.routes.health import HealthRoutes
from spincycle.gateway.routes.job_runner import JobRunnerRoutes
from spincycle.gateway.routes.journal import JournalRoutes
from spincycle.gateway.routes.requests import RequestRoutes
from spincycle.gateway.routes.runner_calls import RunnerCallRoutes
from spincycle.gateway.routes.running import RunningRoutes
from spincycle.http_listener import Listener, address_of, bind
from spincycle.metrics.figures import Figures
from spincycle.metrics.serving import served
from spincycle.process import Shutdown, service_command
from spincycle.rpc.tls import dialer


class Gateway:
    """The listeners and what is behind them.

    Raises:
        ConfigError: an address is no host:port, is taken or cannot be used.
    """

    def __init__(self, config: GatewayConfig, backends: Backends) -> None:
        manager = backends.request_manager
        self._events = EventRoutes(manager, config.keepalive, config.max_event_streams)
        routes = [
            *RequestRoutes(manager, backends.specs, config.page_size).routes(),
            *JournalRoutes(backends.job_log, backends.journal).routes(),
            *RunningRoutes(manager).routes(),
            *FullRoutes(manager, backends.specs, backends.job_log, config.page_size).routes(),
            *RunnerCallRoutes(backends.coordination).routes(),
            *ActionRoutes(manager, backends.specs).routes(),
            *self._events.routes(),
            *HealthRoutes(backends).routes(),
        ]
        self.router = Router([*routes, openapi_route(routes)])
        origins = CrossOrigin(config.cross_origins)
        api = Application(self.router, told, config.limits, config.gzip_bytes, origins)
        self._api = Listener(api, bind(config.listen), limited(config.limits), config.grace)
        self._runner = _runner_listener(config, backends) if config.job_runner_listen else None
        self.figures = Figures()
        self.figures.counter(
            "spincycle_http_calls",
            "HTTP calls that were answered, by method and status",
            lambda: {key: float(count) for key, count in api.calls.items()},
            labels=("method", "status"),
        )

    @property
    def address(self) -> str:
        """Where the API is, host:port."""
        return self._api.address

    @property
    def runner_address(self) -> str:
        """Where the routes of a job runner are, host:port; empty if nowhere."""
        return self._runner.address if self._runner else ""

    async def serve(self) -> None:
        """Answer calls until told to end."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._api.serve())
            if self._runner:
                tasks.create_task(self._runner.serve())

    def end(self) -> None:
        """Take no more calls, and let `serve` return when those in flight have ended."""
        self._events.end()
        self._api.end()
        if self._runner:
            self._runner.end()


def _runner_listener(config: GatewayConfig, backends: Backends) -> Listener:
    bound = bind(config.job_runner_listen)
    base_url = config.job_runner_advertise or f"http://{address_of(bound)}"
    router = Router(JobRunnerRoutes(backends.job_runner, base_url).routes())
    application = Application(router, refused, config.limits, config.gzip_bytes, CrossOrigin(()))
    return Listener(application, bound, limited(config.limits), config.grace)


async def serve(config: GatewayConfig, shutdown: Shutdown) -> None:
    """Answer calls until `shutdown`."""
    backends = open_backends(
        config.request_manager,
        config.job_log,
        config.job_runner,
        config.backend_timeout,
        dialer(config.tls),
    )
    try:
        gateway = Gateway(config, backends)
        structlog.get_logger().info(
            "listening", address=gateway.address, job_runner_address=gateway.runner_address
        )
        async with served(gateway.figures, config.metrics), asyncio.TaskGroup() as tasks:
            tasks.create_task(gateway.serve())
            await shutdown.wait()
            gateway.end()
    finally:
        await backends.close()


main = service_command("gateway", GatewayConfig, serve)
