"""The least that a step of chains can cost: rows over a gRPC stream, stored, and acknowledged.

`python -m tests.bench.bare_batch PORT DSN` stores each message's rows, with two indexes as the
journal has, and answers after the commit. Event loop, libraries and gRPC's settings are those
of the services. Nothing is parsed, checked, fenced or decided.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import uvloop

import spincycle.runtime.polling  # isort: skip # noqa: F401 # as the services, before gRPC is imported

import grpc
from tests.bench.stand import REPOSITORY, Stand
from tests.bench.usage import Usage

from spincycle.dev.ports import free_port

_TABLE = """
CREATE TABLE bare_rows (
    request_id text COLLATE "C", job_id text COLLATE "C", position bigint, words text,
    PRIMARY KEY (request_id, job_id), UNIQUE (request_id, position)
)
"""
_INSERT = """
INSERT INTO bare_rows SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[], $4::text[])
"""
_WORDS = "x" * 60
_WARM = 300


@dataclass(frozen=True, slots=True)
class BareBatch:
    """What one message takes, from its sending to its acknowledgement.

    Attributes:
        ms: milliseconds.
        cpu_ms: CPU milliseconds of both ends and of PostgreSQL.
    """

    ms: float
    cpu_ms: float


async def take_bare_batch(stand: Stand, rows: int, seconds: float) -> BareBatch:
    """Send messages of so many rows for some seconds, each after the answer to the last one."""
    await stand.connection.execute(_TABLE)
    port = str(free_port())
    program = [sys.executable, "-m", "tests.bench.bare_batch", port, stand.database.dsn()]
    keeper = subprocess.Popen(program, cwd=REPOSITORY)
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
    keep: Any = channel.stream_stream("/bench.Keeper/Keep")
    call = keep(wait_for_ready=True)
    message = rows.to_bytes(1) + bytes(rows * 2 * len(_WORDS))
    try:
        for _ in range(_WARM):
            await call.write(message)
            await call.read()
        count = 0
        pids = {"keeper": keeper.pid, "postgresql": stand.pids["postgresql"]}
        async with Usage(pids, interval=seconds) as usage:
            own, began = time.process_time(), time.perf_counter()
            while time.perf_counter() - began < seconds:
                await call.write(message)
                await call.read()
                count += 1
            took, own = time.perf_counter() - began, time.process_time() - own
    except grpc.aio.AioRpcError as failure:
        raise RuntimeError(f"bare batch: {failure.details()}")
    finally:
        await channel.close()
        keeper.kill()
        keeper.wait()
    await stand.connection.execute("DROP TABLE bare_rows")
    return BareBatch(1000 * took / count, 1000 * (usage.cpu_total + own) / count)


async def _serve(port: int, dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    insert = await connection.prepare(_INSERT)

    async def keep(messages: AsyncIterator[bytes], _: Any) -> AsyncIterator[bytes]:
        step = 0
        async for message in messages:
            rows = range(message[0])
            step += 1
            await insert.fetch(
                [f"request-{row}" for row in rows],
                [f"job-{step}"] * len(rows),
                [step] * len(rows),
                [_WORDS] * len(rows),
            )
            yield b"kept"

    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
        "Keep": grpc.stream_stream_rpc_method_handler(keep)
    }
    handler = grpc.method_handlers_generic_handler("bench.Keeper", handlers)
    server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), sys.argv[2]))
