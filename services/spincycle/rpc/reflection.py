"""Server reflection in both versions that clients ask for."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_reflection.v1alpha import reflection, reflection_pb2

V1 = "grpc.reflection.v1.ServerReflection"
V1ALPHA = reflection.SERVICE_NAME

_FILE_V1 = "grpc/reflection/v1/reflection.proto"


def add_reflection(server: grpc.aio.Server, service_names: Sequence[str]) -> None:
    """Describe the services, and reflection itself, to whoever asks.

    The two versions differ in the name of their package only, so one servicer answers both.
    """
    _describe_v1()
    names = (*service_names, V1, V1ALPHA)
    servicer = _Reflection(names)
    method = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        reflection_pb2.ServerReflectionRequest.FromString,
        reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": method})
            for name in (V1, V1ALPHA)
        ]
    )


class _Reflection(reflection.aio.ReflectionServicer):
    """Knows methods and fields too, by what they are part of."""

    def _file_containing_symbol(
        self, request: reflection_pb2.ServerReflectionRequest, fully_qualified_name: str
    ) -> reflection_pb2.ServerReflectionResponse:
        answer = self._of_symbol(request, fully_qualified_name)
        outer = fully_qualified_name.rpartition(".")[0]
        if outer and answer.HasField("error_response"):
            return self._of_symbol(request, outer)
        return answer

    def _of_symbol(
        self, request: reflection_pb2.ServerReflectionRequest, name: str
    ) -> reflection_pb2.ServerReflectionResponse:
        find: Callable[..., reflection_pb2.ServerReflectionResponse]
        find = super()._file_containing_symbol  # type: ignore[misc] # its types leave it out
        return find(request, name)


def _describe_v1() -> None:
    pool = descriptor_pool.Default()
    try:
        pool.FindFileByName(_FILE_V1)
    except KeyError:
        told = descriptor_pb2.FileDescriptorProto()
        reflection_pb2.DESCRIPTOR.CopyToProto(told)
        _rename(told)
        pool.AddSerializedFile(told.SerializeToString())


def _rename(told: descriptor_pb2.FileDescriptorProto) -> None:
    told.name = _FILE_V1
    told.package = "grpc.reflection.v1"
    told.ClearField("options")
    for message in told.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(".v1alpha.", ".v1.")
    for service in told.service:
        for method in service.method:
            method.input_type = method.input_type.replace(".v1alpha.", ".v1.")
            method.output_type = method.output_type.replace(".v1alpha.", ".v1.")
