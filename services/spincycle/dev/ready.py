"""Readiness checks of the services of a stack."""

from __future__ import annotations

import asyncio
import contextlib

import grpc
from grpc_health.v1 import health_pb2

from spincycle.dev.services import Service
from spincycle.rpc.address import is_unix, socket_path

_TIMEOUT = 2.0


async def is_ready(service: Service) -> bool:
    """Return whether a service responds; False for any error."""
    if service.protocol == "http":
        return await _responds_http(service.address)
    if not await _listens(service.address):
        # Avoids the channel's growing reconnect delay.
        return False
    return await _serves(service.address)


async def _listens(address: str) -> bool:
    try:
        async with asyncio.timeout(_TIMEOUT):
            _, writer = await _connect(address)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


async def _serves(address: str) -> bool:
    async with grpc.aio.insecure_channel(address) as channel:
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            response = await check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT)
        except grpc.aio.AioRpcError:
            return False
    return bool(response.status == health_pb2.HealthCheckResponse.SERVING)


async def _connect(address: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if is_unix(address):
        return await asyncio.open_unix_connection(socket_path(address))
    host, _, port = address.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def _responds_http(address: str) -> bool:
    try:
        async with asyncio.timeout(_TIMEOUT):
            reader, writer = await _connect(address)
            try:
                writer.write(b"GET /version HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
                status = await reader.readline()
            finally:
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
    except (OSError, TimeoutError):
        return False
    return b" 200 " in status
