"""The services behind the gateway: one place for stubs, deadlines and failures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import grpc
from grpc_health.v1 import health_pb2

from spincycle import errors
from spincycle.internal.v1.job_runner_service_pb2_grpc import JobRunnerServiceStub
from spincycle.internal.v1.journal_service_pb2_grpc import JournalServiceStub
from spincycle.internal.v1.runner_coordination_service_pb2_grpc import (
    RunnerCoordinationServiceStub,
)
from spincycle.rpc.channel import Dial, open_channel
from spincycle.rpc.status import from_rpc_error
from spincycle.v1.job_log_service_pb2_grpc import JobLogServiceStub
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub
from spincycle.v1.spec_service_pb2_grpc import SpecServiceStub

Asked = TypeVar("Asked")
Answered = TypeVar("Answered")
Stub = TypeVar("Stub")
Other = TypeVar("Other")

_HTTP = {
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "FAILED_PRECONDITION": 409,
    "OUT_OF_RANGE": 400,
    "RESOURCE_EXHAUSTED": 503,
    "CANCELLED": 503,
    "UNIMPLEMENTED": 501,
}
"""HTTP status of a failure that only gRPC itself has named."""


@dataclass(frozen=True, slots=True)
class ServiceClient(Generic[Stub]):
    """One service behind the gateway.

    Attributes:
        name: what people call it.
        address: where it is, host:port or unix:/path.
        channel: the connection to it.
        stub: its methods.
        timeout: seconds within which it must answer.
    """

    name: str
    address: str
    channel: grpc.aio.Channel
    stub: Stub
    timeout: float

    def sharing(self, stub: Callable[[grpc.aio.Channel], Other]) -> ServiceClient[Other]:
        """Another service of the same process, over the same channel."""
        return ServiceClient(
            self.name, self.address, self.channel, stub(self.channel), self.timeout
        )

    async def ask(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[Asked, Answered],
        request: Asked,
        times: int = 1,
    ) -> Answered:
        """The answer to a unary call, which may take so many times as long as others.

        Raises:
            SpinCycleError: as the service told, or ServiceUnavailable, DeadlineExceeded.
        """
        timeout = times * self.timeout
        try:
            return await method(request, timeout=timeout)
        except grpc.aio.AioRpcError as failure:
            raise self.named(failure, timeout)

    @contextmanager
    def failures(self) -> Iterator[None]:
        """Turn the failure of a call within into an entry of the catalogue."""
        try:
            yield
        except grpc.aio.AioRpcError as failure:
            raise self.named(failure)

    def named(
        self, failure: grpc.aio.AioRpcError, timeout: float | None = None
    ) -> errors.SpinCycleError:
        """What a failed call says that had `timeout` seconds, as an entry of the catalogue."""
        if failure.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return errors.DeadlineExceeded(self.name, timeout or self.timeout)
        error = from_rpc_error(failure, self.name, self.address)
        if isinstance(error, errors.RemoteError) and error.reason == failure.code().name:
            error.http = _HTTP.get(error.reason, error.http)
        return error

    async def is_serving(self) -> bool:
        """Whether it says of itself that it can work."""
        check: grpc.aio.UnaryUnaryMultiCallable[
            health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse
        ] = self.channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = await check(health_pb2.HealthCheckRequest(), timeout=self.timeout)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@dataclass(frozen=True, slots=True)
class ServiceClients:
    """All services that the gateway calls."""

    request_manager: ServiceClient[RequestManagerServiceStub]
    specs: ServiceClient[SpecServiceStub]
    coordination: ServiceClient[RunnerCoordinationServiceStub]
    job_log: ServiceClient[JobLogServiceStub]
    journal: ServiceClient[JournalServiceStub]
    job_runner: ServiceClient[JobRunnerServiceStub]

    async def close(self) -> None:
        """End the connections."""
        for backend in (self.request_manager, self.job_log, self.job_runner):
            await backend.channel.close()


def open_backends(
    request_manager: str,
    job_log: str,
    job_runner: str,
    timeout: float,
    dial: Dial = open_channel,
) -> ServiceClients:
    """Open a channel to each address; no service need be up yet."""

    def connect(
        name: str, address: str, stub: Callable[[grpc.aio.Channel], Stub]
    ) -> ServiceClient[Stub]:
        channel = dial(address)
        return ServiceClient(name, address, channel, stub(channel), timeout)

    manager = connect("request manager", request_manager, RequestManagerServiceStub)
    log = connect("job log", job_log, JobLogServiceStub)
    return ServiceClients(
        request_manager=manager,
        specs=manager.sharing(SpecServiceStub),
        coordination=manager.sharing(RunnerCoordinationServiceStub),
        job_log=log,
        journal=log.sharing(JournalServiceStub),
        job_runner=connect("job runner", job_runner, JobRunnerServiceStub),
    )
