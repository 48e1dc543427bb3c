"""Serves the gRPC health protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

SERVICE_NAME = health.SERVICE_NAME

LIVENESS = "liveness"
"""Service name of the liveness check: whether the process can continue without a restart."""

INTERVAL = 1.0
"""Seconds between two evaluations of the checks."""

Check = Callable[[], bool]

_STATUS = {
    True: health_pb2.HealthCheckResponse.SERVING,
    False: health_pb2.HealthCheckResponse.NOT_SERVING,
}


@dataclass(frozen=True, slots=True)
class Vitals:
    """Checks that decide about readiness and liveness.

    Attributes:
        ready: all must hold for the process to be ready; otherwise callers should use another copy.
        live: all must hold for the process to be live; otherwise it must be restarted. Unavailable
            dependencies do not belong here.
    """

    ready: Sequence[Check]
    live: Sequence[Check] = ()


class Health:
    """Reports readiness of the process ("") and of each service, and liveness, on every listener.

    Initially the process is live and not ready.
    """

    def __init__(self) -> None:
        self._servicers: list[tuple[health.aio.HealthServicer, Sequence[str]]] = []
        self._reported: dict[str, bool] = {}
        self._draining = False

    def add_to(self, server: grpc.aio.Server, service_names: Sequence[str]) -> None:
        """Serve health on a listener; `service_names` may grow until the server starts."""
        servicer = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        self._servicers.append((servicer, service_names))

    async def start(self) -> None:
        """Report live and not ready."""
        await self.report(ready=False, live=True)

    async def report(self, *, ready: bool, live: bool = True) -> None:
        """Set readiness and liveness; watching clients get the changes."""
        if self._draining:
            return
        for name, holds in (("", ready), (LIVENESS, live)):
            if self._reported.get(name) is holds:
                continue
            self._reported[name] = holds
            for servicer, services in self._servicers:
                for each in [name] if name else ["", *services]:
                    await servicer.set(each, _STATUS[holds])

    async def monitor(self, vitals: Vitals) -> None:
        """Evaluate the checks every `INTERVAL` and report the results, until cancelled."""
        while not self._draining:
            await self.report(
                ready=all(check() for check in vitals.ready),
                live=all(check() for check in vitals.live),
            )
            await asyncio.sleep(INTERVAL)

    async def drain(self) -> None:
        """Report not ready, permanently: the server is shutting down."""
        await self.report(ready=False)
        self._draining = True
