"""A request manager on a real socket and a real database, with runners that tests control."""

from __future__ import annotations

import asyncio
import os
import pwd
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import grpc
import pytest
from msgspec.structs import replace
from tests.postgres_fixtures import *  # noqa: F403

from spincycle.dev.ports import free_port
from spincycle.internal.v1 import (
    job_event_pb2,
    job_runner_service_pb2,
    job_runner_service_pb2_grpc,
    journal_service_pb2_grpc,
    runner_coordination_service_pb2_grpc,
)
from spincycle.internal.v1 import journal_service_pb2 as journal_pb2
from spincycle.internal.v1 import runner_coordination_service_pb2 as coordination_pb2
from spincycle.request_manager.config import RequestManagerConfig
from spincycle.request_manager.process import serve
from spincycle.rpc.channel import open_channel
from spincycle.runtime.config import DatabaseConfig, InternalConfig, Secret
from spincycle.runtime.process import Shutdown
from spincycle.v1 import (
    error_pb2,
    job_log_pb2,
    job_log_service_pb2,
    job_log_service_pb2_grpc,
    request_manager_service_pb2_grpc,
    request_report_pb2,
    spec_service_pb2,
    spec_service_pb2_grpc,
    state_pb2,
    suspended_job_chain_pb2,
)
from spincycle.v1 import request_manager_service_pb2 as rpc

SPECS = """
sequences:
  nap:
    request: true
    args:
      required:
        - name: ms
      optional:
        - name: why
          desc: "Why to sleep"
          default: "tired"
    nodes:
      rest:
        category: job
        type: sleep
        args:
          - expected: duration
            given: ms
  one-nap:
    request: true
    max_running: 1
    args:
      required:
        - name: ms
    nodes:
      rest:
        category: job
        type: sleep
        args:
          - expected: duration
            given: ms
"""

ACCOUNT = pwd.getpwuid(os.geteuid()).pw_name
"""User of the requests that tests create: the account of the test run."""

Stub = request_manager_service_pb2_grpc.RequestManagerServiceStub
NO_TRANSITION = job_event_pb2.CHAIN_TRANSITION_UNSPECIFIED
Context = grpc.aio.ServicerContext[Any, Any]
Coordination = runner_coordination_service_pb2_grpc.RunnerCoordinationServiceStub


async def until(condition: Callable[[], Awaitable[object]] | Callable[[], object]) -> None:
    """Return when the condition holds; the test's own time limit bounds the wait."""
    async with asyncio.timeout(20):
        while True:
            holds = condition()
            if isinstance(holds, Awaitable):
                holds = await holds
            if holds:
                return
            await asyncio.sleep(0.01)


class SteeredRunner(job_runner_service_pb2_grpc.JobRunnerServiceServicer):
    """A runner that accepts chains, runs nothing, and sends the events that the test publishes."""

    def __init__(self, runner_id: str) -> None:
        self.runner_id = runner_id
        self.chains: dict[str, int] = {}
        self.resumed: dict[str, suspended_job_chain_pb2.SuspendedJobChain] = {}
        self.stopped: list[str] = []
        self.suspended: list[str] = []
        self.refuse_with: str = ""
        self.silent = False
        self.published: list[job_event_pb2.JobEvent] = []
        self.disconnects = 0
        self.held = False
        self.drops_events = False
        self.streams = 0
        self.server: grpc.aio.Server
        self.port = 0
        self._watched = asyncio.Condition()

    async def publish(
        self,
        request_id: str,
        transition: job_event_pb2.ChainTransition.ValueType = NO_TRANSITION,
        **more: Any,
    ) -> None:
        """Publish an event of a chain, under the next number of the epoch."""
        event = job_event_pb2.JobEvent(
            request_id=request_id,
            epoch=self.chains[request_id],
            offset=len(self.published) + 1,
            transition=transition,
            **({"sequence_number": 2 + len(self.published)} | more),
        )
        if not transition:
            event.job.request_id = request_id
        event.occurred_at.GetCurrentTime()
        self.published.append(event)
        async with self._watched:
            self._watched.notify_all()

    async def release(self) -> None:
        """Send what was published while `held` was set."""
        self.held = False
        async with self._watched:
            self._watched.notify_all()

    async def disconnect(self) -> None:
        """Break all streams."""
        self.disconnects += 1
        async with self._watched:
            self._watched.notify_all()

    async def RunChains(
        self, request: job_runner_service_pb2.RunChainsRequest, context: Context
    ) -> job_runner_service_pb2.RunChainsResponse:
        if self.silent:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "silent")
        if self.refuse_with:
            return job_runner_service_pb2.RunChainsResponse(
                refusals=[
                    job_runner_service_pb2.Refusal(
                        request_id=one.job_chain.request_id,
                        error=error_pb2.Error(reason=self.refuse_with, message="as the test says"),
                    )
                    for one in request.assignments
                ]
            )
        for one in request.assignments:
            if self.chains.get(one.job_chain.request_id) != one.epoch:
                self.chains[one.job_chain.request_id] = one.epoch
                await self.publish(one.job_chain.request_id, job_event_pb2.CHAIN_TRANSITION_STARTED)
        return job_runner_service_pb2.RunChainsResponse()

    async def ResumeChains(
        self, request: job_runner_service_pb2.ResumeChainsRequest, context: Context
    ) -> job_runner_service_pb2.ResumeChainsResponse:
        for one in request.suspended_job_chains:
            self.chains[one.request_id] = one.epoch
            await self.publish(one.request_id, job_event_pb2.CHAIN_TRANSITION_STARTED)
            self.resumed[one.request_id] = one
        return job_runner_service_pb2.ResumeChainsResponse()

    async def StopChains(
        self, request: job_runner_service_pb2.StopChainsRequest, context: Context
    ) -> job_runner_service_pb2.StopChainsResponse:
        self.stopped.extend(request.request_ids)
        return job_runner_service_pb2.StopChainsResponse()

    async def SuspendChains(
        self, request: job_runner_service_pb2.SuspendChainsRequest, context: Context
    ) -> job_runner_service_pb2.SuspendChainsResponse:
        self.suspended.extend(request.request_ids)
        return job_runner_service_pb2.SuspendChainsResponse()

    async def ExplainChain(
        self, request: job_runner_service_pb2.ExplainChainRequest, context: Context
    ) -> job_runner_service_pb2.ExplainChainResponse:
        if request.request_id not in self.chains:
            await context.abort(grpc.StatusCode.NOT_FOUND, "not here")
        return job_runner_service_pb2.ExplainChainResponse()

    async def ListRunning(
        self, request: job_runner_service_pb2.ListRunningRequest, context: Context
    ) -> job_runner_service_pb2.ListRunningResponse:
        return job_runner_service_pb2.ListRunningResponse()

    async def WatchJobs(
        self, request: job_runner_service_pb2.WatchJobsRequest, context: Context
    ) -> AsyncIterator[job_runner_service_pb2.WatchJobsResponse]:
        self.streams += 1
        try:
            async for response in self._send_events(request, context):
                yield response
        finally:
            self.streams -= 1

    async def _send_events(
        self, request: job_runner_service_pb2.WatchJobsRequest, context: Context
    ) -> AsyncIterator[job_runner_service_pb2.WatchJobsResponse]:
        disconnects = self.disconnects
        is_new = self.drops_events or not request.HasField("after_offset")
        offset = len(self.published) if is_new else request.after_offset
        started = job_runner_service_pb2.WatchStarted(
            offset=offset, gap=self.drops_events, request_ids=self.chains if is_new else ()
        )
        yield job_runner_service_pb2.WatchJobsResponse(started=started)
        while True:
            if self.published[offset:] and not self.held:
                events, offset = self.published[offset:], len(self.published)
                yield job_runner_service_pb2.WatchJobsResponse(events=events)
            async with self._watched:
                await self._watched.wait_for(
                    lambda: (
                        (len(self.published) > offset and not self.held)  # noqa: B023
                        or self.disconnects > disconnects
                    )
                )
            if self.disconnects > disconnects:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "disconnected")

    async def DescribeChains(
        self, request: job_runner_service_pb2.DescribeChainsRequest, context: Context
    ) -> job_runner_service_pb2.DescribeChainsResponse:
        response = job_runner_service_pb2.DescribeChainsResponse(offset=len(self.published))
        for known in request.chains:
            events = [one for one in self.published if one.request_id == known.request_id]
            if known.request_id in self.chains and events:
                response.chains.add(
                    request_id=known.request_id,
                    epoch=events[-1].epoch,
                    sequence_number=events[-1].sequence_number,
                    jobs={one.job.job_id: one.job for one in events if one.job.job_id}.values(),
                )
        return response


Runner = TypeVar("Runner", bound=SteeredRunner)


class ShelvedJobLog(
    job_log_service_pb2_grpc.JobLogServiceServicer, journal_service_pb2_grpc.JournalServiceServicer
):
    """A job log whose entries the test provides."""

    def __init__(self) -> None:
        self.entries: dict[str, list[job_log_pb2.JobLog]] = {}
        self.fences: dict[str, int] = {}
        self.fence_calls: dict[str, list[int]] = {}
        self.away = False

    async def Append(
        self, request_iterator: AsyncIterator[journal_pb2.AppendRequest], context: Context
    ) -> AsyncIterator[journal_pb2.AppendResponse]:
        async for request in request_iterator:
            for entry in request.entries:
                self.entries.setdefault(entry.request_id, []).append(entry)
            yield journal_pb2.AppendResponse(batch=request.batch)

    async def Fence(
        self, request: journal_pb2.FenceRequest, context: Context
    ) -> journal_pb2.FenceResponse:
        if self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        response = journal_pb2.FenceResponse()
        for fence in request.fences:
            self.fence_calls.setdefault(fence.request_id, []).append(fence.epoch)
            in_force = max(fence.epoch, self.fences.get(fence.request_id, 0))
            self.fences[fence.request_id] = in_force
            if in_force > fence.epoch:
                response.higher.add(request_id=fence.request_id, epoch=in_force)
        return response

    async def GetEntry(
        self, request: job_log_service_pb2.GetEntryRequest, context: Context
    ) -> job_log_service_pb2.GetEntryResponse:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "not here")

    async def ListEntries(
        self, request: job_log_service_pb2.ListEntriesRequest, context: Context
    ) -> job_log_service_pb2.ListEntriesResponse:
        return job_log_service_pb2.ListEntriesResponse(
            entries=self.entries.get(request.request_id, [])
        )

    async def Tail(
        self, request: job_log_service_pb2.TailRequest, context: Context
    ) -> AsyncIterator[job_log_service_pb2.TailResponse]:
        if self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        for entry in self.entries.get(request.request_id, []):
            if entry.position > request.after_position:
                yield job_log_service_pb2.TailResponse(
                    events=[job_log_service_pb2.TailEvent(entry=entry)]
                )


@dataclass
class Manager:
    """A running request manager, and its clients, runners and job log."""

    config: RequestManagerConfig
    stub: Stub
    specs: spec_service_pb2_grpc.SpecServiceStub
    coordination: Coordination
    job_log: ShelvedJobLog
    runners: list[SteeredRunner] = field(default_factory=list)

    async def register(
        self, runner: Runner, coordination: Coordination | None = None, **limits: Any
    ) -> Runner:
        """Serve a runner and register it, by a stub of its own if it has one."""
        server = grpc.aio.server()
        job_runner_service_pb2_grpc.add_JobRunnerServiceServicer_to_server(runner, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        runner.server = server
        runner.port = port
        self.runners.append(runner)
        await (coordination or self.coordination).Register(
            coordination_pb2.RegisterRequest(
                runner_id=runner.runner_id, address=f"127.0.0.1:{port}", **limits
            )
        )
        return runner

    async def create(self, **changes: Any) -> rpc.CreateResponse:
        """Create a nap."""
        request = rpc.CreateRequest(**({"type": "nap"} | changes))
        request.args.update({"ms": "1"})
        return await self.stub.Create(request)

    async def state(self, request_id: str) -> int:
        """State of a request."""
        response = await self.stub.Get(rpc.GetRequest(request_id=request_id))
        return response.request.state

    async def until_state(self, request_id: str, state: int) -> None:
        """Return when a request is in a state."""

        async def reached() -> bool:
            return await self.state(request_id) == state

        await until(reached)

    async def finish(
        self,
        request_id: str,
        epoch: int,
        state: state_pb2.State.ValueType = state_pb2.STATE_COMPLETE,
    ) -> coordination_pb2.ReportResult:
        """Report the end of a request as its runner."""
        finish = request_report_pb2.FinishRequest(
            request_id=request_id,
            state=state,
            epoch=epoch,
            finished_jobs=3,
        )
        finish.finished_at.GetCurrentTime()
        for runner in self.runners:
            if runner.chains.get(request_id) == epoch:
                released = job_event_pb2.CHAIN_TRANSITION_RELEASED
                await runner.publish(request_id, released, complete=True)
        report = coordination_pb2.RunnerReport(finish=finish)
        return (
            await self.coordination.Report(coordination_pb2.ReportRequest(reports=[report]))
        ).results[0]


def another(config: RequestManagerConfig) -> RequestManagerConfig:
    """The configuration of a second copy on the same database."""
    return replace(
        config,
        listen=f"127.0.0.1:{free_port()}",
        internal=InternalConfig(listen=f"127.0.0.1:{free_port()}", allow_unidentified=True),
    )


@asynccontextmanager
async def running_manager(
    config: RequestManagerConfig, job_log: ShelvedJobLog
) -> AsyncIterator[Manager]:
    """Run a request manager within this process, on a real socket."""
    shutdown = Shutdown()
    serving = asyncio.create_task(serve(config, shutdown))
    channel = open_channel(config.listen)
    internal = open_channel(config.internal.listen)
    specs = spec_service_pb2_grpc.SpecServiceStub(channel)
    manager = Manager(config, Stub(channel), specs, Coordination(internal), job_log)
    try:
        await manager.specs.ListSpecs(
            spec_service_pb2.ListSpecsRequest(), wait_for_ready=True, timeout=20
        )
        await until(lambda: database_is_ready(manager))
        yield manager
    finally:
        await channel.close()
        await internal.close()
        shutdown.request()
        await serving
        for runner in manager.runners:
            await runner.server.stop(0)


async def database_is_ready(manager: Manager) -> bool:
    """Return whether the schema exists."""
    try:
        await manager.stub.List(rpc.ListRequest())
    except grpc.aio.AioRpcError:
        return False
    return True


def add_job_log(servicer: ShelvedJobLog, server: grpc.aio.Server) -> None:
    """Serve both services of a job log."""
    job_log_service_pb2_grpc.add_JobLogServiceServicer_to_server(servicer, server)
    journal_service_pb2_grpc.add_JournalServiceServicer_to_server(servicer, server)


@pytest.fixture
async def job_log() -> AsyncIterator[tuple[ShelvedJobLog, str]]:
    servicer = ShelvedJobLog()
    server = grpc.aio.server()
    add_job_log(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield servicer, f"127.0.0.1:{port}"
    await server.stop(0)


@pytest.fixture
def config(
    database: str, tmp_path: Path, job_log: tuple[ShelvedJobLog, str]
) -> RequestManagerConfig:
    specs = tmp_path / "specs"
    specs.mkdir()
    (specs / "nap.yaml").write_text(SPECS)
    return RequestManagerConfig(
        listen=f"127.0.0.1:{free_port()}",
        internal=InternalConfig(listen=f"127.0.0.1:{free_port()}", allow_unidentified=True),
        database=DatabaseConfig(dsn=Secret(database)),
        specs_dir=specs,
        job_log=job_log[1],
        grace=0.2,
    )


@pytest.fixture
async def manager(
    config: RequestManagerConfig, job_log: tuple[ShelvedJobLog, str]
) -> AsyncIterator[Manager]:
    async with running_manager(config, job_log[0]) as running:
        yield running


@pytest.fixture
async def connection(manager: Manager) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the test's own to the request manager's database."""
    connection = await asyncpg.connect(manager.config.database.dsn.reveal())
    yield connection
    await connection.close()
