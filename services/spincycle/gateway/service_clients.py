"""Clients of the services behind the gateway: stubs, deadlines, error translation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import grpc
from grpc_health.v1 import health_pb2

from spincycle import errors
from spincycle.gateway.caller_channel import CallerChannel
from spincycle.identity.service_identity import JOB_LOG, JOB_RUNNER, REQUEST_MANAGER
from spincycle.internal.v1.job_runner_service_pb2_grpc import JobRunnerServiceStub
from spincycle.internal.v1.journal_service_pb2_grpc import JournalServiceStub
from spincycle.internal.v1.runner_coordination_service_pb2_grpc import (
    RunnerCoordinationServiceStub,
)
from spincycle.rpc.dialer import UNIDENTIFIED, Dialer
from spincycle.rpc.status import from_rpc_error
from spincycle.v1.access_service_pb2_grpc import AccessServiceStub
from spincycle.v1.audit_service_pb2_grpc import AuditServiceStub
from spincycle.v1.job_log_service_pb2_grpc import JobLogServiceStub
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub
from spincycle.v1.spec_service_pb2_grpc import SpecServiceStub

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")
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
"""HTTP status of errors without a reason of the catalogue, by gRPC code."""


@dataclass(frozen=True, slots=True)
class ServiceClient(Generic[Stub]):
    """Calls one service.

    Attributes:
        name: name of the service in error messages.
        address: host:port or unix:/path.
        channel: the gRPC channel to it.
        stub: its methods.
        timeout: deadline of a call in seconds.
    """

    name: str
    address: str
    channel: grpc.aio.Channel
    stub: Stub
    timeout: float

    def with_stub(self, stub: Callable[[grpc.aio.Channel], Other]) -> ServiceClient[Other]:
        """Return a client of another service of the same process, over the same channel."""
        return ServiceClient(
            self.name, self.address, self.channel, stub(self.channel), self.timeout
        )

    async def call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[RequestT, ResponseT],
        request: RequestT,
        timeout_factor: int = 1,
    ) -> ResponseT:
        """Make a unary call, with the deadline multiplied by `timeout_factor`.

        Raises:
            SpinCycleError: the error of the service, or ServiceUnavailable, DeadlineExceeded.
        """
        timeout = timeout_factor * self.timeout
        try:
            return await method(request, timeout=timeout)
        except grpc.aio.AioRpcError as failure:
            raise self.translate(failure, timeout)

    @contextmanager
    def translate_errors(self) -> Iterator[None]:
        """Raise a gRPC failure inside the block as an error of the catalogue."""
        try:
            yield
        except grpc.aio.AioRpcError as failure:
            raise self.translate(failure)

    def translate(
        self, failure: grpc.aio.AioRpcError, timeout: float | None = None
    ) -> errors.SpinCycleError:
        """Return a gRPC failure as an error of the catalogue; `timeout` is the call's deadline."""
        if failure.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return errors.DeadlineExceeded(self.name, timeout or self.timeout)
        error = from_rpc_error(failure, self.name, self.address)
        if isinstance(error, errors.RemoteError) and error.reason == failure.code().name:
            error.http = _HTTP.get(error.reason, error.http)
        return error

    async def is_serving(self) -> bool:
        """Return whether the health check of the service reports SERVING."""
        check: grpc.aio.UnaryUnaryMultiCallable[
            health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse
        ] = self.channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            response = await check(health_pb2.HealthCheckRequest(), timeout=self.timeout)
        except grpc.aio.AioRpcError:
            return False
        return bool(response.status == health_pb2.HealthCheckResponse.SERVING)


@dataclass(frozen=True, slots=True)
class ServiceClients:
    """The clients of all services that the gateway calls."""

    request_manager: ServiceClient[RequestManagerServiceStub]
    specs: ServiceClient[SpecServiceStub]
    access: ServiceClient[AccessServiceStub]
    audit: ServiceClient[AuditServiceStub]
    coordination: ServiceClient[RunnerCoordinationServiceStub]
    job_log: ServiceClient[JobLogServiceStub]
    journal: ServiceClient[JournalServiceStub]
    job_runner: ServiceClient[JobRunnerServiceStub]

    async def close(self) -> None:
        """Close the channels."""
        for client in (self.request_manager, self.job_log, self.job_runner):
            await client.channel.close()


def open_service_clients(
    request_manager: str,
    job_log: str,
    job_runner: str,
    timeout: float,
    dialer: Dialer = UNIDENTIFIED,
) -> ServiceClients:
    """Open a channel to each address, without waiting for a connection."""

    def connect(
        service: str, address: str, stub: Callable[[grpc.aio.Channel], Stub]
    ) -> ServiceClient[Stub]:
        channel = CallerChannel(dialer.to(service)(address))
        name = service.replace("-", " ")
        return ServiceClient(name, address, channel, stub(channel), timeout)

    manager = connect(REQUEST_MANAGER, request_manager, RequestManagerServiceStub)
    log = connect(JOB_LOG, job_log, JobLogServiceStub)
    return ServiceClients(
        request_manager=manager,
        specs=manager.with_stub(SpecServiceStub),
        access=manager.with_stub(AccessServiceStub),
        audit=manager.with_stub(AuditServiceStub),
        coordination=manager.with_stub(RunnerCoordinationServiceStub),
        job_log=log,
        journal=log.with_stub(JournalServiceStub),
        job_runner=connect(JOB_RUNNER, job_runner, JobRunnerServiceStub),
    )
