"""A program of another local account: it calls the services with forged credentials."""

from __future__ import annotations

import asyncio
import json
import sys

import grpc

from spincycle.access.caller import Caller
from spincycle.rpc.caller_metadata import Metadata, assertion_of
from spincycle.rpc.status import from_rpc_error

METHODS = {
    "request-manager": (
        "RequestManagerService/List",
        "RequestManagerService/Create",
        "RequestManagerService/Watch",
        "SpecService/ReloadSpecs",
        "AccessService/WhoAmI",
    ),
    "job-log": ("JobLogService/ListEntries", "JobLogService/Tail"),
}
PATHS = ("/api/v1/requests", "/api/v1/me", "/api/v1/events", "/api/v1/me?access_token=admin")

ADMIN = assertion_of(Caller("ada", ("admin",), "token-file"))

CREDENTIALS: dict[str, Metadata] = {
    "nothing": (),
    "an assertion of a gateway": ADMIN,
    "headers of a proxy": (
        ("x-forwarded-user", "ada"),
        ("x-forwarded-groups", "admin"),
        ("x-remote-user", "ada"),
        ("x-forwarded-for", "127.0.0.1"),
        ("forwarded", "for=127.0.0.1"),
    ),
    "a token that nobody has": (("authorization", "Bearer token-of-nobody"),),
    "an empty token": (("authorization", "Bearer "),),
    "a name and a password": (("authorization", "Basic YWRhOmFkYQ=="),),
    "two tokens": (("authorization", "Bearer x"), ("authorization", "Bearer y")),
    "a huge token": (("authorization", f"Bearer {'x' * 20_000}"),),
}


async def over_grpc(address: str, method: str, metadata: Metadata) -> str:
    """Return the reason for which a call is refused; "" if it is not."""
    options = [("grpc.max_metadata_size", 64 * 1024)]
    async with grpc.aio.insecure_channel(address, options) as channel:
        call: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(
            f"/spincycle.v1.{method}"
        )
        try:
            async for _ in call(b"", metadata=metadata, timeout=20):
                return ""
        except grpc.aio.AioRpcError as failure:
            return from_rpc_error(failure, "service", "").reason
    return ""


async def over_http(address: str, path: str, metadata: Metadata) -> str:
    """Return the status of a call."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close"]
    for key, value in metadata:
        lines.append(f"{key}: {value if isinstance(value, str) else value.hex()}")
    writer.write("\r\n".join([*lines, "", ""]).encode())
    async with asyncio.timeout(20):
        status = await reader.readline()
    writer.close()
    return status.split()[1].decode()


async def report(addresses: dict[str, str]) -> dict[str, list[str]]:
    """Return the different answers to each credential."""
    found: dict[str, set[str]] = {}
    for name, metadata in CREDENTIALS.items():
        answers = found.setdefault(name, set())
        for service, methods in METHODS.items():
            for method in methods:
                answers.add(await over_grpc(addresses[service], method, metadata))
        for path in PATHS:
            answers.add(await over_http(addresses["gateway"], path, metadata))
    return {name: sorted(answers) for name, answers in found.items()}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(report(json.loads(sys.argv[1])))))
