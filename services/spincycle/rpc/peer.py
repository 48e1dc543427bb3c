"""Verifies that the configured address of another service is its internal listener."""

from __future__ import annotations

from dataclasses import dataclass

import grpc
import structlog
from grpc_health.v1 import health_pb2

from spincycle.rpc.channel import Dial, open_channel
from spincycle.runtime.backoff import Backoff

RETRY_INTERVAL = 2.0
"""Maximum seconds between two checks, until one succeeds."""

TIMEOUT = 5.0
"""Seconds that a check may take."""


@dataclass(slots=True)
class Peer:
    """A service that this process calls.

    Attributes:
        setting: configuration key of its address.
        address: host:port or unix:/path.
        service: full name of an internal service that must be served there.
        dial: opens a channel to it.
        is_wrong: whether the address serves gRPC health, but not that service.
    """

    setting: str
    address: str
    service: str
    dial: Dial = open_channel
    is_wrong: bool = False

    def is_right(self) -> bool:
        """Return whether the address has not been found wrong."""
        return not self.is_wrong

    async def check(self) -> None:
        """Check the health of the service until it is served; log a wrong address once."""
        async with self.dial(self.address) as channel:
            health: grpc.aio.UnaryUnaryMultiCallable[
                health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse
            ] = channel.unary_unary(
                "/grpc.health.v1.Health/Check",
                request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
                response_deserializer=health_pb2.HealthCheckResponse.FromString,
            )
            request = health_pb2.HealthCheckRequest(service=self.service)
            backoff = Backoff(RETRY_INTERVAL, RETRY_INTERVAL)
            while True:
                try:
                    await health(request, timeout=TIMEOUT)
                except grpc.aio.AioRpcError as failure:
                    if failure.code() is grpc.StatusCode.NOT_FOUND:
                        self._report()
                else:
                    self.is_wrong = False
                    return
                await backoff.wait()

    def _report(self) -> None:
        if not self.is_wrong:
            structlog.get_logger().error(
                "not an internal listener",
                setting=self.setting,
                address=self.address,
                problem=f"it does not serve {self.service}; set {self.setting} to the internal "
                "listener of that service, not to the public one",
            )
        self.is_wrong = True
