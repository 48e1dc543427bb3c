"""Fake services on real sockets, whose replies a test sets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from typing import Any

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from tests.identities import UNIDENTIFIED

from spincycle.internal.v1 import (
    job_runner_service_pb2,
    job_runner_service_pb2_grpc,
    journal_service_pb2,
    journal_service_pb2_grpc,
    runner_coordination_service_pb2,
    runner_coordination_service_pb2_grpc,
)
from spincycle.rpc.limits import INTERNAL
from spincycle.rpc.server import RpcServer, RpcService
from spincycle.v1 import (
    access_service_pb2,
    access_service_pb2_grpc,
    audit_service_pb2,
    audit_service_pb2_grpc,
    job_log_service_pb2,
    job_log_service_pb2_grpc,
    request_manager_service_pb2,
    request_manager_service_pb2_grpc,
    spec_service_pb2,
    spec_service_pb2_grpc,
)

Reply = Message | Exception | Iterable[Message | Exception]
ReplySource = Reply | Callable[[Any], Any]


class Backend:
    """A process whose methods return preset replies and record their requests and metadata.

    `services` are those of its internal listener, each with its generated stubs.
    """

    def __init__(self, *services: tuple[ServiceDescriptor, Any]) -> None:
        self.received: dict[str, list[Any]] = defaultdict(list)
        self.metadata: dict[str, list[dict[str, str | bytes]]] = defaultdict(list)
        self._replies: dict[str, ReplySource] = {}
        self._services = services
        self.address = ""

    def respond(self, **replies: ReplySource) -> None:
        """Set the replies of methods: a message, an error, several, or a function."""
        self._replies.update(replies)

    def last(self, method: str) -> Any:
        """Return the last request of a method."""
        return self.received[method][-1]

    async def start(self, address: str = "127.0.0.1:0") -> None:
        self._server = RpcServer(internal=UNIDENTIFIED)
        listener = self._server.listen(INTERNAL, address)
        listener.serve(*(self._service(*service) for service in self._services))
        await self._server.start()
        await self.set_serving(True)
        self.address = listener.address

    def _service(self, service: ServiceDescriptor, stubs: Any) -> RpcService:
        base = getattr(stubs, f"{service.name}Servicer")
        methods = {
            method.name: self._server_stream(method.name, method.client_streaming)
            if method.server_streaming
            else self._unary(method.name)
            for method in service.methods
        }
        servicer = type("Servicer", (base,), methods)()
        register = getattr(stubs, f"add_{service.name}Servicer_to_server")
        return RpcService(service.full_name, partial(register, servicer))

    async def set_serving(self, serving: bool) -> None:
        await self._server.health.report(ready=serving)

    async def stop(self) -> None:
        await self._server.stop(0)

    async def _reply(self, name: str, request: Any) -> Any:
        self.received[name].append(request)
        answer = self._replies[name]
        if callable(answer):
            answer = answer(request)
            if hasattr(answer, "__await__"):
                answer = await answer
        return answer

    def _unary(self, name: str) -> Any:
        async def answer(_: Any, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            self.metadata[name].append(dict(context.invocation_metadata() or ()))
            reply = await self._reply(name, request)
            if isinstance(reply, Exception):
                raise reply
            return reply

        return answer

    def _server_stream(self, name: str, client_streaming: bool) -> Any:
        async def stream(
            _: Any, request: Any, context: grpc.aio.ServicerContext[Any, Any]
        ) -> AsyncIterator[Any]:
            self.metadata[name].append(dict(context.invocation_metadata() or ()))
            requests = request if client_streaming else _only(request)
            async for message in requests:
                reply = await self._reply(name, message)
                if hasattr(reply, "__aiter__"):
                    async for each in reply:
                        yield each
                    continue
                for each in [reply] if isinstance(reply, Message | Exception) else reply:
                    if isinstance(each, Exception):
                        raise each
                    yield each

        return stream


async def _only(request: Any) -> AsyncIterator[Any]:
    yield request


def _service(messages: Any, name: str, stubs: Any) -> tuple[ServiceDescriptor, Any]:
    return messages.DESCRIPTOR.services_by_name[name], stubs


def request_manager() -> Backend:
    return Backend(
        _service(
            request_manager_service_pb2, "RequestManagerService", request_manager_service_pb2_grpc
        ),
        _service(spec_service_pb2, "SpecService", spec_service_pb2_grpc),
        _service(access_service_pb2, "AccessService", access_service_pb2_grpc),
        _service(audit_service_pb2, "AuditService", audit_service_pb2_grpc),
        _service(
            runner_coordination_service_pb2,
            "RunnerCoordinationService",
            runner_coordination_service_pb2_grpc,
        ),
    )


def job_log() -> Backend:
    return Backend(
        _service(job_log_service_pb2, "JobLogService", job_log_service_pb2_grpc),
        _service(journal_service_pb2, "JournalService", journal_service_pb2_grpc),
    )


def job_runner() -> Backend:
    return Backend(
        _service(job_runner_service_pb2, "JobRunnerService", job_runner_service_pb2_grpc)
    )
