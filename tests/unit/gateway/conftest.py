from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from google.protobuf.message import Message

from spincycle.gateway.service_clients import ServiceClient, ServiceClients
from spincycle.internal.v1 import (
    job_runner_service_pb2,
    journal_service_pb2,
    runner_coordination_service_pb2,
)
from spincycle.v1 import (
    access_service_pb2,
    audit_service_pb2,
    job_log_service_pb2,
    request_manager_service_pb2,
    spec_service_pb2,
)


class Stub:
    """A stub whose methods serialize their request and return an empty response."""

    def __init__(self, module: Any, service: str) -> None:
        for method in module.DESCRIPTOR.services_by_name[service].methods:
            response = getattr(module, method.output_type.name)
            make = _unary
            if method.server_streaming:
                make = _bidirectional_stream if method.client_streaming else _server_stream
            setattr(self, method.name, make(response))


def _unary(response: type[Message]) -> Callable[..., Any]:
    async def call(request: Message, *, timeout: float | None = None) -> Message:
        request.SerializeToString()
        return response()

    return call


class Channel:
    """A channel whose methods return no bytes, which is an empty message."""

    def unary_unary(self, method: str) -> Any:
        async def call(request: bytes, *, timeout: float | None = None) -> bytes:
            return b""

        return call


class _Stream:
    def __init__(self) -> None:
        self._over = False

    async def read(self) -> None:
        return None

    def cancel(self) -> None:
        pass

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        raise StopAsyncIteration


def _server_stream(response: type[Message]) -> Callable[..., Any]:
    def call(request: Message, *, timeout: float | None = None) -> _Stream:
        request.SerializeToString()
        return _Stream()

    return call


def _bidirectional_stream(response: type[Message]) -> Callable[..., Any]:
    async def call(
        requests: AsyncIterator[Message], *, timeout: float | None = None
    ) -> AsyncIterator[Message]:
        async for request in requests:
            request.SerializeToString()
            yield response(batch=1)

    return call


@pytest.fixture(scope="session")
def empty_clients() -> ServiceClients:
    """Clients of services whose responses are empty."""

    def client(module: Any, service: str) -> ServiceClient[Any]:
        return ServiceClient(service, "nowhere:1", Channel(), Stub(module, service), 1.0)  # type: ignore[arg-type] # as far as it is used

    return ServiceClients(
        request_manager=client(request_manager_service_pb2, "RequestManagerService"),
        access=client(access_service_pb2, "AccessService"),
        audit=client(audit_service_pb2, "AuditService"),
        specs=client(spec_service_pb2, "SpecService"),
        coordination=client(runner_coordination_service_pb2, "RunnerCoordinationService"),
        job_log=client(job_log_service_pb2, "JobLogService"),
        journal=client(journal_service_pb2, "JournalService"),
        job_runner=client(job_runner_service_pb2, "JobRunnerService"),
    )
