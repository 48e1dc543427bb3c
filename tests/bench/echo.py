"""The least that a gateway can be: an ASGI application that asks a gRPC server that echoes.

`python -m tests.bench.echo grpc PORT` is the server, `python -m tests.bench.echo http PORT
GRPC_PORT` the application, both on the same event loop and libraries as the services.
"""

from __future__ import annotations

import sys
from typing import Any

import uvicorn
import uvloop

import spincycle.runtime.polling  # isort: skip # noqa: F401 # as the services, before gRPC is imported

import grpc

METHOD = "/bench.Echo/Ask"


async def serve_grpc(port: int) -> None:
    """Echo bytes."""

    async def ask(request: bytes, _: Any) -> bytes:
        return request

    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Ask": grpc.unary_unary_rpc_method_handler(ask)
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


async def serve_http(port: int, grpc_port: int) -> None:
    """Answer each GET with what the echo says to its path."""
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{grpc_port}")
    ask: Any = channel.unary_unary(METHOD)

    async def app(scope: Any, _receive: Any, send: Any) -> None:
        body = await ask(scope["path"].encode(), wait_for_ready=True)
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    config = uvicorn.Config(
        app,
        port=port,
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="error",
    )
    await uvicorn.Server(config).serve()


def main() -> None:
    """Serve until killed."""
    kind, *ports = sys.argv[1:]
    numbers = [int(port) for port in ports]
    uvloop.run(serve_grpc(*numbers) if kind == "grpc" else serve_http(*numbers))


if __name__ == "__main__":
    main()
