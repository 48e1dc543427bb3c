"""What a server says of itself over gRPC's health protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

SERVICE_NAME = health.SERVICE_NAME

LIVENESS = "liveness"
"""Name under which health tells whether the process can go on at all."""

INTERVAL = 1.0
"""Seconds between two looks at the work path."""

Check = Callable[[], bool]

_STATUS = {
    True: health_pb2.HealthCheckResponse.SERVING,
    False: health_pb2.HealthCheckResponse.NOT_SERVING,
}


@dataclass(frozen=True, slots=True)
class Vitals:
    """What must hold.

    Attributes:
        ready: all of these, for the work path to be alive. Otherwise callers are better off with
            another copy.
        live: all of these, for the process to have a future. Otherwise, and only then, a restart
            helps: what is away elsewhere does not count here.
    """

    ready: Sequence[Check]
    live: Sequence[Check] = ()


class Health:
    """Readiness of the process ("") and of each service, and liveness, on every listener.

    Until something else is set, the process is live and not ready.
    """

    def __init__(self) -> None:
        self._servicers: list[tuple[health.aio.HealthServicer, Sequence[str]]] = []
        self._told: dict[str, bool] = {}
        self._ended = False

    def add_to(self, server: grpc.aio.Server, service_names: Sequence[str]) -> None:
        """Serve health on a listener, for the services that it has by the start."""
        servicer = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
        self._servicers.append((servicer, service_names))

    async def begin(self) -> None:
        """Be there for whoever asks."""
        await self.tell(ready=False, live=True)

    async def tell(self, *, ready: bool, live: bool = True) -> None:
        """Say what is true now; whoever watches hears what is new."""
        if self._ended:
            return
        for name, holds in (("", ready), (LIVENESS, live)):
            if self._told.get(name) is holds:
                continue
            self._told[name] = holds
            for servicer, services in self._servicers:
                for each in [name] if name else ["", *services]:
                    await servicer.set(each, _STATUS[holds])

    async def keep(self, vitals: Vitals) -> None:
        """Say what the vitals say, until cancelled."""
        while not self._ended:
            await self.tell(
                ready=all(check() for check in vitals.ready),
                live=all(check() for check in vitals.live),
            )
            await asyncio.sleep(INTERVAL)

    async def end(self) -> None:
        """Say that the server is not ready, for good: it drains."""
        await self.tell(ready=False)
        self._ended = True
