"""Standard services of a server: both versions of reflection, health, channelz; compression."""

from __future__ import annotations

import asyncio
from typing import Any, Self, cast

import grpc
import pytest
from google.protobuf import descriptor_pb2
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from tests.health_client import HealthClient
from tests.integration.rpc.conftest import JOURNAL, SERVICE, Served

from spincycle.internal.v1 import job_runner_service_pb2
from spincycle.rpc.health import Vitals
from spincycle.rpc.limits import COMPRESSED_FROM, COMPRESSED_UP_TO, COMPRESSION
from spincycle.v1 import job_log_service_pb2 as pb

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def reflect(served: Served, version: str, **asked: Any) -> Any:
    method = served.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        reflection_pb2.ServerReflectionRequest.SerializeToString,
        reflection_pb2.ServerReflectionResponse.FromString,
    )
    async for answer in method(iter([reflection_pb2.ServerReflectionRequest(**asked)])):
        return answer
    raise AssertionError("no answer")


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_lists_every_service_in_both_versions(
    served: Served, version: str
) -> None:
    answer = await reflect(served, version, list_services="*")

    assert {service.name for service in answer.list_services_response.service} == {
        SERVICE,
        JOURNAL,
        "grpc.health.v1.Health",
        "grpc.channelz.v1.Channelz",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    }


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_every_listed_service_is_described(served: Served, version: str) -> None:
    listed = await reflect(served, version, list_services="*")
    for service in listed.list_services_response.service:
        answer = await reflect(served, version, file_containing_symbol=service.name)

        files = [
            descriptor_pb2.FileDescriptorProto.FromString(file)
            for file in answer.file_descriptor_response.file_descriptor_proto
        ]
        assert service.name in {
            f"{file.package}.{described.name}" for file in files for described in file.service
        }


async def test_a_method_is_found_by_its_name(served: Served) -> None:
    answer = await reflect(served, "v1", file_containing_symbol=f"{SERVICE}.Tail")

    assert answer.file_descriptor_response.file_descriptor_proto


async def test_an_unknown_symbol_is_not_found(served: Served) -> None:
    answer = await reflect(served, "v1", file_containing_symbol="spincycle.v1.Nothing.Nothing")

    assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


async def test_a_listener_describes_only_its_own_services(served: Served) -> None:
    assert job_runner_service_pb2.DESCRIPTOR.name, "the process knows it"
    asked = (
        {"file_containing_symbol": "spincycle.internal.v1.JobRunnerService"},
        {"file_containing_symbol": "spincycle.v1.RequestManagerService"},
        {"file_by_filename": job_runner_service_pb2.DESCRIPTOR.name},
    )
    for one in asked:
        answer = await reflect(served, "v1", **one)
        assert answer.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


async def health(served: Served, service: str) -> int:
    asked = health_pb2.HealthCheckRequest(service=service)
    return (await HealthClient(served.channel).check(asked)).status


async def test_a_server_is_initially_live_and_not_ready(served: Served) -> None:
    assert await health(served, "") == NOT_SERVING
    assert await health(served, SERVICE) == NOT_SERVING
    assert await health(served, "liveness") == SERVING

    await served.server.health.report(ready=True)

    assert await health(served, "") == SERVING
    assert await health(served, SERVICE) == SERVING


async def test_draining_ends_only_readiness(served: Served) -> None:
    await served.server.health.report(ready=True)

    await served.server.health.drain()

    assert await health(served, "") == NOT_SERVING
    assert await health(served, "liveness") == SERVING
    await served.server.health.report(ready=True)
    assert await health(served, "") == NOT_SERVING


@pytest.mark.parametrize("name", ["", SERVICE, "liveness"])
async def test_a_health_watcher_gets_each_change(served: Served, name: str) -> None:
    alive = True
    keeping = asyncio.create_task(
        served.server.health.monitor(Vitals(ready=[lambda: alive], live=[lambda: alive]))
    )
    asked = health_pb2.HealthCheckRequest(service=name)
    watch = HealthClient(served.channel).watch(asked)
    updates = aiter(watch)

    while (await anext(updates)).status != SERVING:
        pass
    alive = False
    assert (await anext(updates)).status == NOT_SERVING
    alive = True
    assert (await anext(updates)).status == SERVING

    watch.cancel()
    keeping.cancel()


async def test_channelz_counts_the_calls_of_the_server(served: Served) -> None:
    stub = channelz_pb2_grpc.ChannelzStub(cast("grpc.Channel", served.channel))
    await health(served, "")

    servers = (await stub.GetServers(channelz_pb2.GetServersRequest())).server

    sockets = [socket.name for server in servers for socket in server.listen_socket]
    assert any("127.0.0.1" in name for name in sockets), sockets
    assert any(server.data.calls_succeeded for server in servers)


async def test_a_large_response_is_compressed_on_request(served: Served) -> None:
    answer = pb.GetEntryResponse()
    answer.entry.stdout = "x" * (COMPRESSED_FROM * 4)

    async def get() -> pb.GetEntryResponse:
        return answer

    served.job_log.get = get
    sent = {}
    for metadata in ((), ((COMPRESSION, "gzip"),)):
        async with CountingProxy(served.address) as proxy:
            async with grpc.aio.insecure_channel(proxy.address) as channel:
                stub = type(served.stub)(channel)
                response = await stub.GetEntry(pb.GetEntryRequest(), metadata=metadata)
                assert response == answer
            sent[bool(metadata)] = proxy.bytes_down

    assert sent[False] > COMPRESSED_FROM * 4
    assert sent[True] < COMPRESSED_FROM


async def test_a_stream_compresses_its_large_messages_on_request(served: Served) -> None:
    large, largest = pb.TailResponse(), pb.TailResponse()
    large.events.add().entry.stdout = "x" * (COMPRESSED_FROM * 4)
    largest.events.add().entry.stdout = "x" * (COMPRESSED_UP_TO + 1)
    served.job_log.tail = [pb.TailResponse(), large, pb.TailResponse(), large]
    async with (
        CountingProxy(served.address) as proxy,
        grpc.aio.insecure_channel(
            proxy.address, [("grpc.max_receive_message_length", -1)]
        ) as channel,
    ):
        stub = type(served.stub)(channel)
        metadata = ((COMPRESSION, "gzip"),)
        answers = [answer async for answer in stub.Tail(pb.TailRequest(), metadata=metadata)]
        assert answers == served.job_log.tail
        assert proxy.bytes_down < COMPRESSED_FROM
        served.job_log.tail = [largest]
        answers = [answer async for answer in stub.Tail(pb.TailRequest(), metadata=metadata)]
        assert answers == [largest]
    assert proxy.bytes_down > COMPRESSED_UP_TO


async def test_a_compressed_request_is_accepted(served: Served) -> None:
    async def get() -> pb.GetEntryResponse:
        return pb.GetEntryResponse()

    served.job_log.get = get

    await served.stub.GetEntry(
        pb.GetEntryRequest(request_id="x" * 256), compression=grpc.Compression.Gzip
    )


class CountingProxy:
    """Forwards the bytes of one server and counts those that it sends."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = host, int(port)
        self.bytes_down = 0

    async def __aenter__(self) -> Self:
        self._tasks: set[asyncio.Task[None]] = set()
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(*self._target)
        for source, sink, counted in ((reader, up_writer, False), (up_reader, writer, True)):
            self._tasks.add(asyncio.create_task(self._pass(source, sink, counted)))

    async def _pass(
        self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, counted: bool
    ) -> None:
        try:
            while data := await source.read(65536):
                self.bytes_down += len(data) if counted else 0
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass
        finally:
            sink.close()
