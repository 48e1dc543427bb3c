"""Services that answer as a test tells them, over real sockets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from functools import partial
from typing import Any

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message

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
    job_log_service_pb2,
    job_log_service_pb2_grpc,
    request_manager_service_pb2,
    request_manager_service_pb2_grpc,
    spec_service_pb2,
    spec_service_pb2_grpc,
)

Said = Message | Exception | Iterable[Message | Exception]
Answering = Said | Callable[[Any], Any]


class Backend:
    """One process whose methods answer what was said, and remember what they were asked.

    `services` are those of its internal listener, each with its generated stubs.
    """

    def __init__(self, *services: tuple[ServiceDescriptor, Any]) -> None:
        self.asked: dict[str, list[Any]] = defaultdict(list)
        self._says: dict[str, Answering] = {}
        self._services = services
        self.address = ""

    def says(self, **answers: Answering) -> None:
        """From now on methods answer so: a message, an error, several, or a function."""
        self._says.update(answers)

    def last(self, method: str) -> Any:
        """What the method was asked last."""
        return self.asked[method][-1]

    async def start(self, address: str = "127.0.0.1:0") -> None:
        self._server = RpcServer()
        listener = self._server.listen(INTERNAL, address)
        listener.serve(*(self._service(*service) for service in self._services))
        await self._server.start()
        await self.set_serving(True)
        self.address = listener.address

    def _service(self, service: ServiceDescriptor, stubs: Any) -> RpcService:
        base = getattr(stubs, f"{service.name}Servicer")
        methods = {
            method.name: self._streaming(method.name, method.client_streaming)
            if method.server_streaming
            else self._answering(method.name)
            for method in service.methods
        }
        servicer = type("Servicer", (base,), methods)()
        register = getattr(stubs, f"add_{service.name}Servicer_to_server")
        return RpcService(service.full_name, partial(register, servicer))

    async def set_serving(self, serving: bool) -> None:
        await self._server.health.report(ready=serving)

    async def stop(self) -> None:
        await self._server.stop(0)

    async def _said(self, name: str, request: Any) -> Any:
        self.asked[name].append(request)
        answer = self._says[name]
        if callable(answer):
            answer = answer(request)
            if hasattr(answer, "__await__"):
                answer = await answer
        return answer

    def _answering(self, name: str) -> Any:
        async def answer(_: Any, request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            said = await self._said(name, request)
            if isinstance(said, Exception):
                raise said
            return said

        return answer

    def _streaming(self, name: str, client_streaming: bool) -> Any:
        async def stream(
            _: Any, request: Any, context: grpc.aio.ServicerContext[Any, Any]
        ) -> AsyncIterator[Any]:
            requests = request if client_streaming else _only(request)
            async for asked in requests:
                said = await self._said(name, asked)
                if hasattr(said, "__aiter__"):
                    async for each in said:
                        yield each
                    continue
                for each in [said] if isinstance(said, Message | Exception) else said:
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
