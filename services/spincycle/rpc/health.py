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
    """Readiness of the server as a whole ("") and of its service, and liveness.

    Until something else is told, the server is live and not ready.
    """

    def __init__(self, server: grpc.aio.Server, service_name: str) -> None:
        self._servicer = health.aio.HealthServicer()
        self._readiness = ("", service_name)
        self._told: dict[str, bool] = {}
        self._ended = False
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def begin(self) -> None:
        """Be there for whoever asks."""
        await self.tell(ready=False, live=True)

    async def tell(self, *, ready: bool, live: bool = True) -> None:
        """Say what is true now; whoever watches hears what is new."""
        if self._ended:
            return
        for name, holds in (*((name, ready) for name in self._readiness), (LIVENESS, live)):
            if self._told.get(name) is not holds:
                self._told[name] = holds
                await self._servicer.set(name, _STATUS[holds])

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
