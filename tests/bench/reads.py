"""Reading back: one request, lists among very many, logs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from statistics import mean

import orjson
from tests.bench.http_client import HttpConnection
from tests.bench.limits import Echo, get_rate
from tests.bench.shapes import Shape
from tests.bench.stand import Stand
from tests.bench.usage import Usage

ROWS = 200_000
_CONNECTIONS = 16
_TURNS = 4


@dataclass(frozen=True, slots=True)
class Rate:
    """GET of one path with 16 connections, beside an echo that was asked in between.

    Attributes:
        cpu_ms: CPU milliseconds a call, of all processes.
        echo: echoes a second, in turns with the path, so that both saw the same machine.
        echo_cpu_ms: CPU milliseconds of both processes of the echo for each.
    """

    per_second: float
    cpu_ms: float
    echo: float
    echo_cpu_ms: float

    @property
    def ratio(self) -> float:
        """To the echo."""
        return self.per_second / self.echo


@dataclass(frozen=True, slots=True)
class ReadRates:
    """What was read."""

    one: Rate
    listed: Rate
    by_argument: Rate
    log: Rate


async def take_reads(stand: Stand, seconds: float) -> ReadRates:
    """Fill the database and measure each for some seconds."""
    connection = await HttpConnection.open(*stand.gateway)
    small = await run_to_end(connection, Shape("", "one-noop"))
    long = await run_to_end(connection, Shape("", "chain-100"))
    connection.close()
    await stand.connection.execute(_FILL, ROWS)
    await stand.connection.execute("VACUUM ANALYZE request_manager.requests")
    async with Echo() as echo:

        async def rate(path: str) -> Rate:
            return await beside(echo, stand, path, seconds)

        return ReadRates(
            one=await rate(f"/api/v1/requests/{small}"),
            listed=await rate("/api/v1/requests?limit=10"),
            by_argument=await rate("/api/v1/requests?arg=host%3Dhost-77&limit=10"),
            log=await rate(f"/api/v1/requests/{long}/log"),
        )


async def beside(echo: Echo, stand: Stand, path: str, seconds: float) -> Rate:
    """Ask for a path and for the echo in turns."""
    await get_rate(*stand.gateway, path, _CONNECTIONS, seconds / 5)
    turn = seconds / _TURNS
    rates: list[float] = []
    echoes: list[float] = []
    cpu = echo_cpu = 0.0
    for _ in range(_TURNS):
        async with Usage(stand.pids, interval=60) as usage:
            rates.append(await get_rate(*stand.gateway, path, _CONNECTIONS, turn))
        cpu += usage.cpu_total
        async with Usage(echo.pids, interval=60) as usage:
            echoes.append(await get_rate("127.0.0.1", echo.port, "/e", _CONNECTIONS, turn))
        echo_cpu += usage.cpu_total
    return Rate(
        mean(rates),
        1000 * cpu / (sum(rates) * turn),
        mean(echoes),
        1000 * echo_cpu / (sum(echoes) * turn),
    )


async def run_to_end(connection: HttpConnection, shape: Shape, patience: float = 600) -> str:
    """Create a request through the gateway and wait until it is COMPLETE; answer its id."""
    request = await connection.post("/api/v1/requests", {"type": shape.type, "args": shape.args})
    path = f"/api/v1/requests?state=PENDING&state=RUNNING&state=SUSPENDED&type={shape.type}"
    async with asyncio.timeout(patience):
        while any(
            one["id"] == request["id"] for one in orjson.loads(await connection.get(path)) or ()
        ):
            await asyncio.sleep(0.02)
    return str(request["id"])


# Every hundredth has the argument that is looked for.
_FILL = """
INSERT INTO request_manager.requests
       (request_id, type, state, created_at, started_at, finished_at, total_jobs, finished_jobs,
        spec_revision, plan_hash, given_args)
SELECT 'bench' || lpad(n::text, 15, '0'), 'with-argument', 3, at, at, at, 5, 5, '', '',
       jsonb_build_object('host', 'host-' || n % 100)
  FROM (SELECT n, now() - n * interval '1 second' AS at FROM generate_series(1, $1::integer) AS n)
       AS old
    ON CONFLICT DO NOTHING
"""
