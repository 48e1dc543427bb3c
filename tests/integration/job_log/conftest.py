"""Job logs on real sockets with a real database, and clients of their streams."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import grpc
import pytest
from grpc_health.v1 import health_pb2
from tests.health_client import HealthClient
from tests.postgres_fixtures import *  # noqa: F403
from tests.waiting import until

from spincycle.database.migrations import load_migrations, migrate
from spincycle.database.queries import load_queries
from spincycle.dev.ports import free_port
from spincycle.internal.v1 import journal_service_pb2 as journal_pb2
from spincycle.internal.v1.journal_service_pb2_grpc import JournalServiceStub
from spincycle.job_log.config import JobLogConfig
from spincycle.job_log.intake import Intake
from spincycle.job_log.process import PACKAGE, SCHEMA, serve
from spincycle.model.journal_entry import JournalEntry
from spincycle.model.state import State
from spincycle.rpc.channel import open_channel
from spincycle.runtime.config import DatabaseConfig, InternalConfig, Secret
from spincycle.runtime.process import Shutdown
from spincycle.v1 import job_log_service_pb2 as pb
from spincycle.v1.job_log_service_pb2_grpc import JobLogServiceStub
from spincycle.wire.journal import encode_entry

QUERIES = load_queries(PACKAGE)
REQUEST = "c0n4t8k9o5vg0a1b2c3d"


def entry(number: int = 1, request_id: str = REQUEST, **changed: object) -> JournalEntry:
    """Return an entry of job `j<number>` at position `number`, with changed fields."""
    fields: dict[str, object] = {
        "request_id": request_id,
        "job_id": f"j{number:03}",
        "try_": 1,
        "name": f"job-{number}",
        "type": "shell-command",
        "started_at": 1_790_000_000_123_456_789 + number,
        "finished_at": 1_790_000_001_987_654_321 + number,
        "state": State.COMPLETE,
        "stdout": f"output of {number}\n",
        "sequence_id": "seq1",
        "sequence_try": 1,
        "position": number,
        "epoch": 1,
        "path": f"upgrade h{number:02} / job-{number}",
    }
    return JournalEntry(**(fields | changed))  # type: ignore[arg-type] # whatever the test says


def append(connection: asyncpg.Connection, number: int, epoch: int) -> Awaitable[int]:
    """Run the append statement in the session's current transaction."""
    row = Intake(1024, 1024).row(entry(number, epoch=epoch))
    stored: Awaitable[int] = connection.fetchval(QUERIES["append"].sql, [row])
    return stored


async def a_lock_is_waited_for(observer: asyncpg.Connection) -> bool:
    """Return whether a session waits for the lock of fences and followers."""
    waiting: bool = await observer.fetchval(
        "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation IS NOT NULL "
        "AND relation = 'job_log.fences'::regclass)"
    )
    return waiting


class RunnerStream:
    """The client of an Append stream, like a runner."""

    def __init__(self, stub: JournalServiceStub) -> None:
        self.call = stub.Append()
        self.batches = 0
        self.acknowledged = 0
        self.refused: list[journal_pb2.RefusedEntry] = []

    async def send(self, *entries: JournalEntry) -> None:
        """Send one batch."""
        self.batches += 1
        await self.call.write(
            journal_pb2.AppendRequest(batch=self.batches, entries=map(encode_entry, entries))
        )

    async def settle(self) -> list[journal_pb2.RefusedEntry]:
        """Wait until every sent batch is acknowledged; return the refused entries."""
        while self.acknowledged < self.batches:
            response = await self.call.read()
            assert isinstance(response, journal_pb2.AppendResponse), "the stream ended"
            assert response.batch > self.acknowledged
            self.acknowledged = response.batch
            self.refused += response.refused
        return self.refused

    async def append(self, *entries: JournalEntry) -> list[journal_pb2.RefusedEntry]:
        """Send one batch and wait for its commit."""
        await self.send(*entries)
        return await self.settle()


class TailReader:
    """Reads a stream of Tail one event at a time, however the server bundles them."""

    def __init__(self, call: grpc.aio.UnaryStreamCall[pb.TailRequest, pb.TailResponse]) -> None:
        self._call = call
        self._events: deque[pb.TailEvent] = deque()

    async def read(self) -> Any:
        """Return the next event, or EOF."""
        while not self._events:
            response = await self._call.read()
            if not isinstance(response, pb.TailResponse):
                return response
            self._events.extend(response.events)
        return self._events.popleft()

    async def __aiter__(self) -> AsyncIterator[pb.TailEvent]:
        while (event := await self.read()) is not grpc.aio.EOF:
            yield event

    def cancel(self) -> None:
        self._call.cancel()


@dataclass
class RunningJobLog:
    """One copy of the service."""

    address: str
    public_address: str
    stub: JobLogServiceStub
    journal: JournalServiceStub
    channel: grpc.aio.Channel
    shutdown: Shutdown
    serving: asyncio.Task[None]

    def stream(self) -> RunnerStream:
        """Open an Append stream."""
        return RunnerStream(self.journal)

    async def healthy(self, name: str = "spincycle.v1.JobLogService") -> bool:
        """Return whether health reports SERVING."""
        asked = health_pb2.HealthCheckRequest(service=name)
        try:
            response = await HealthClient(self.channel).check(asked)
        except grpc.aio.AioRpcError:
            return False
        return bool(response.status == health_pb2.HealthCheckResponse.SERVING)

    async def entries(self, request_id: str = REQUEST) -> list[tuple[str, int]]:
        """Return (job, try) of all stored entries of a request, by position."""
        asked = pb.TailRequest(request_id=request_id)
        return [(event.entry.job_id, event.entry.try_number) async for event in self.tail(asked)]

    def tail(self, request: pb.TailRequest) -> TailReader:
        """Tail a journal, one event at a time."""
        return TailReader(self.stub.Tail(request))

    async def end(self) -> None:
        """Shut the copy down, like a signal."""
        self.shutdown.request()
        await self.serving


StartJobLog = Callable[[], Awaitable[RunningJobLog]]


@asynccontextmanager
async def running_job_log(
    dsn: str, *, migrates: bool = True, **settings: Any
) -> AsyncIterator[RunningJobLog]:
    """One copy of the service on a free port."""
    config = JobLogConfig(
        listen=f"127.0.0.1:{free_port()}",
        internal=InternalConfig(listen=f"127.0.0.1:{free_port()}", allow_unidentified=True),
        database=DatabaseConfig(dsn=Secret(dsn), max_connections=4, migrate=migrates),
        grace=2.0,
        **settings,
    )
    shutdown = Shutdown()
    serving = asyncio.create_task(serve(config, shutdown))
    address = config.internal.listen
    channel = open_channel(address)
    try:
        yield RunningJobLog(
            address,
            config.listen,
            JobLogServiceStub(channel),
            JournalServiceStub(channel),
            channel,
            shutdown,
            serving,
        )
    finally:
        await channel.close()
        shutdown.request()
        await serving


@pytest.fixture
async def migrated(database: str) -> str:
    """The address of a database with the schema."""
    await migrate(database, SCHEMA, load_migrations(PACKAGE))
    return database


@pytest.fixture
async def start(database: str) -> AsyncIterator[StartJobLog]:
    """Start copies of the service on one database; wait until each is healthy."""
    async with AsyncExitStack() as stack:

        async def started() -> RunningJobLog:
            job_log = await stack.enter_async_context(running_job_log(database))
            await until(job_log.healthy)
            return job_log

        yield started


@pytest.fixture
async def job_log(start: StartJobLog) -> RunningJobLog:
    """One copy of the service."""
    return await start()


@pytest.fixture
async def connection(migrated: str) -> AsyncIterator[asyncpg.Connection]:
    """A separate session on the service's database."""
    connection = await asyncpg.connect(migrated)
    yield connection
    await connection.close()
