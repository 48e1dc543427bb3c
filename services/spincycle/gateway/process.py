"""The gateway process: its parts, put together."""

from __future__ import annotations

import asyncio

import structlog

from spincycle.gateway.app import Application
from spincycle.gateway.backends import Backends, open_backends
from spincycle.gateway.config import GatewayConfig
from spincycle.gateway.failures import told
from spincycle.gateway.listener import Listener
from spincycle.gateway.router import Router
from spincycle.gateway.routes.journal import JournalRoutes
from spincycle.gateway.routes.requests import RequestRoutes
from spincycle.gateway.routes.running import RunningRoutes
from spincycle.process import Shutdown, service_command


class Gateway:
    """The listeners and what is behind them.

    Raises:
        ConfigError: an address is no host:port.
        OSError: an address is taken or cannot be used.
    """

    def __init__(self, config: GatewayConfig, backends: Backends) -> None:
        router = Router(
            [
                *RequestRoutes(backends.request_manager, config.page_size).routes(),
                *JournalRoutes(backends.job_log).routes(),
                *RunningRoutes(backends.request_manager).routes(),
            ]
        )
        api = Application(router, told, config.limits, config.gzip_bytes)
        self._listeners = [Listener(api, config.listen, config.limits, config.grace)]
        self.address = self._listeners[0].address
        self.runner_address = ""

    async def serve(self) -> None:
        """Answer calls until told to end."""
        async with asyncio.TaskGroup() as tasks:
            for listener in self._listeners:
                tasks.create_task(listener.serve())

    def end(self) -> None:
        """Take no more calls, and let `serve` return when those in flight have ended."""
        for listener in self._listeners:
            listener.end()


async def serve(config: GatewayConfig, shutdown: Shutdown) -> None:
    """Answer calls until `shutdown`."""
    backends = open_backends(
        config.request_manager, config.job_log, config.job_runner, config.backend_timeout
    )
    try:
        gateway = Gateway(config, backends)
        structlog.get_logger().info("listening", address=gateway.address)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(gateway.serve())
            await shutdown.wait()
            gateway.end()
    finally:
        await backends.close()


main = service_command("gateway", GatewayConfig, serve)
