"""Server reflection, v1 and v1alpha."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection, reflection_pb2

V1 = "grpc.reflection.v1.ServerReflection"
V1ALPHA = reflection.SERVICE_NAME

_FILE_V1 = "grpc/reflection/v1/reflection.proto"


def add_reflection(server: grpc.aio.Server, service_names: Sequence[str]) -> None:
    """Serve reflection of the services of a listener, and of reflection itself.

    Other descriptors in the process are not visible. The two versions of reflection differ only in
    the name of their package, so one servicer serves both.
    """
    names = (*service_names, V1, V1ALPHA)
    servicer = _Reflection(names, _pool_of(names))
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
    """Also finds methods and fields, by their enclosing symbol."""

    def _file_containing_symbol(
        self, request: reflection_pb2.ServerReflectionRequest, fully_qualified_name: str
    ) -> reflection_pb2.ServerReflectionResponse:
        response = self._find(request, fully_qualified_name)
        outer = fully_qualified_name.rpartition(".")[0]
        if outer and response.HasField("error_response"):
            return self._find(request, outer)
        return response

    def _find(
        self, request: reflection_pb2.ServerReflectionRequest, name: str
    ) -> reflection_pb2.ServerReflectionResponse:
        find: Callable[..., reflection_pb2.ServerReflectionResponse]
        find = super()._file_containing_symbol  # type: ignore[misc] # missing in the library's stubs
        return find(request, name)


def _pool_of(service_names: Sequence[str]) -> descriptor_pool.DescriptorPool:
    """Return a pool with only the files of these services and their imports."""
    known, pool = descriptor_pool.Default(), descriptor_pool.DescriptorPool()
    added: set[str] = set()

    def add(file: FileDescriptor) -> None:
        if file.name not in added:
            added.add(file.name)
            for imported in file.dependencies:
                add(imported)
            pool.AddSerializedFile(file.serialized_pb)

    for name in service_names:
        if name != V1:
            add(known.FindServiceByName(name).file)
    described = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(described)
    _rename(described)
    pool.AddSerializedFile(described.SerializeToString())
    return pool


def _rename(described: descriptor_pb2.FileDescriptorProto) -> None:
    described.name = _FILE_V1
    described.package = "grpc.reflection.v1"
    described.ClearField("options")
    for message in described.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(".v1alpha.", ".v1.")
    for service in described.service:
        for method in service.method:
            method.input_type = method.input_type.replace(".v1alpha.", ".v1.")
            method.output_type = method.output_type.replace(".v1alpha.", ".v1.")
