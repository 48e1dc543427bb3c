"""A request manager and a job log that respond from memory, on a real socket in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from typing import Any, Self

import grpc

from spincycle.access.config import AuthConfig
from spincycle.errors import NotAuthenticated, RequestNotFound, SpinCycleError, UnknownRequestType
from spincycle.gateway.config import GatewayConfig
from spincycle.gateway.process import Gateway
from spincycle.gateway.service_clients import open_service_clients
from spincycle.rpc.status import abort
from spincycle.v1 import access_service_pb2 as access
from spincycle.v1 import access_service_pb2_grpc as access_grpc
from spincycle.v1 import audit_service_pb2 as audit
from spincycle.v1 import audit_service_pb2_grpc as audit_grpc
from spincycle.v1 import (
    job_chain_pb2,
    job_log_pb2,
    job_output_pb2,
    plan_pb2,
    request_event_pb2,
    request_pb2,
    spec_pb2,
    spec_service_pb2,
    state_pb2,
    status_pb2,
)
from spincycle.v1 import job_log_service_pb2 as jl
from spincycle.v1 import job_log_service_pb2_grpc as jl_grpc
from spincycle.v1 import request_manager_service_pb2 as rm
from spincycle.v1 import request_manager_service_pb2_grpc as rm_grpc
from spincycle.v1 import spec_service_pb2_grpc as spec_grpc

Context = grpc.aio.ServicerContext[Any, Any]
ENDED = {state_pb2.STATE_COMPLETE, state_pb2.STATE_FAIL, state_pb2.STATE_STOPPED}


class Memory:
    """State of both services; tests change it through `FakeServices.update`."""

    def __init__(self) -> None:
        self.specs: list[spec_pb2.RequestSpec] = []
        self.requests: dict[str, request_pb2.Request] = {}
        self.chains: dict[str, job_chain_pb2.JobChain] = {}
        self.statuses: dict[str, dict[str, status_pb2.JobStatus]] = {}
        self.entries: dict[str, list[job_log_pb2.JobLog]] = {}
        self.running = rm.ListRunningJobsResponse()
        self.explained = rm.ExplainResponse()
        self.plan: plan_pb2.Plan | None = None
        self.caller = access.WhoAmIResponse(name="dana", authenticator="token-file")
        self.decision = access.CheckAccessResponse(
            allowed=True, rule="acl", message='role "ops" has the operation'
        )
        self.accepts: Callable[[str], bool] = lambda _: True
        """Whether a bearer token, or "" for none, is accepted."""
        self.audit: list[audit.AuditEntry] = []
        self.error: SpinCycleError | None = None
        self.received: list[Any] = []
        self.metadata: list[tuple[tuple[str, str], ...]] = []
        self.events: dict[str, list[request_event_pb2.RequestEvent]] = {}
        self.pieces: dict[str, list[job_output_pb2.JobOutput]] = {}
        self.changed = asyncio.Condition()
        self.watching = asyncio.Event()
        self.breaks = 0
        self.next_id = "dc2c07b8di121n1t4i50"


class Fake:
    """What the fake services share: the memory, and what they note of each call."""

    def __init__(self, memory: Memory) -> None:
        self.memory = memory

    async def _known(self, message: Any, context: Any, request_id: str = "") -> request_pb2.Request:
        self.memory.received.append(message)
        self.memory.metadata.append(tuple(context.invocation_metadata()))
        await self._authenticated(context)
        if self.memory.error:
            await abort(context, self.memory.error)
        if request_id and request_id not in self.memory.requests:
            await abort(context, RequestNotFound(request_id))
        return self.memory.requests.get(request_id, request_pb2.Request())

    async def _break(self, context: Any) -> None:
        """End a stream as a stopping service does, or because its credential expired."""
        await self._authenticated(context)
        await context.abort(grpc.StatusCode.UNAVAILABLE, "going away")

    async def _authenticated(self, context: Any) -> None:
        metadata = dict(context.invocation_metadata())
        if not self.memory.accepts(metadata.get("authorization", "").removeprefix("Bearer ")):
            await abort(context, NotAuthenticated("the bearer token is not known here"))


class FakeManager(Fake, rm_grpc.RequestManagerServiceServicer):
    async def Create(self, request: rm.CreateRequest, context: Context) -> rm.CreateResponse:
        await self._known(request, context)
        for spec in self.memory.specs:
            if spec.name == request.type:
                break
        else:
            await abort(context, UnknownRequestType(f"no request {request.type}", request.type))
        made = request_pb2.Request(
            id=self.memory.next_id, type=request.type, state=state_pb2.STATE_PENDING
        )
        self.memory.requests.setdefault(made.id, made)
        return rm.CreateResponse(request=made)

    async def Plan(self, request: rm.PlanRequest, context: Context) -> rm.PlanResponse:
        await self._known(request, context)
        if self.memory.plan is None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "not there")
        return rm.PlanResponse(plan=self.memory.plan)

    async def Get(self, request: rm.GetRequest, context: Context) -> rm.GetResponse:
        return rm.GetResponse(request=await self._known(request, context, request.request_id))

    async def List(self, request: rm.ListRequest, context: Context) -> rm.ListResponse:
        await self._known(request, context)
        selected = request.filter
        found = [
            one
            for one in self.memory.requests.values()
            if (not selected.type or one.type == selected.type)
            and (not selected.states or one.state in selected.states)
            and (not selected.user or one.user == selected.user)
        ]
        first = int(request.page_token or selected.offset)
        page = found[first : first + request.page_size]
        rest = first + request.page_size < len(found)
        return rm.ListResponse(
            requests=page, next_page_token=str(first + request.page_size) if rest else ""
        )

    async def Start(self, request: rm.StartRequest, context: Context) -> rm.StartResponse:
        await self._known(request, context, request.request_id)
        return rm.StartResponse()

    async def Stop(self, request: rm.StopRequest, context: Context) -> rm.StopResponse:
        return rm.StopResponse(request=await self._known(request, context, request.request_id))

    async def Suspend(self, request: rm.SuspendRequest, context: Context) -> rm.SuspendResponse:
        return rm.SuspendResponse(request=await self._known(request, context, request.request_id))

    async def Resume(self, request: rm.ResumeRequest, context: Context) -> rm.ResumeResponse:
        return rm.ResumeResponse(request=await self._known(request, context, request.request_id))

    async def _rerun(self, request: Any, context: Any) -> request_pb2.Request:
        old = await self._known(request, context, request.request_id)
        return request_pb2.Request(
            id=self.memory.next_id, type=old.type, rerun_of_request_id=old.id
        )

    async def Rerun(self, request: rm.RerunRequest, context: Context) -> rm.RerunResponse:
        return rm.RerunResponse(request=await self._rerun(request, context))

    async def Skip(self, request: rm.SkipRequest, context: Context) -> rm.SkipResponse:
        return rm.SkipResponse(request=await self._rerun(request, context))

    async def Explain(self, request: rm.ExplainRequest, context: Context) -> rm.ExplainResponse:
        await self._known(request, context, request.request_id)
        explained = rm.ExplainResponse(
            state=self.memory.explained.state, message=self.memory.explained.message
        )
        explained.jobs.extend(
            job
            for job in self.memory.explained.jobs
            if not request.job_ids or job.job_id in request.job_ids
        )
        return explained

    async def GetJobChain(
        self, request: rm.GetJobChainRequest, context: Context
    ) -> rm.GetJobChainResponse:
        await self._known(request, context, request.request_id)
        return rm.GetJobChainResponse(job_chain=self.memory.chains[request.request_id])

    async def StreamJobChain(
        self, request: rm.StreamJobChainRequest, context: Context
    ) -> AsyncIterator[rm.StreamJobChainResponse]:
        await self._known(request, context, request.request_id)
        yield rm.StreamJobChainResponse(part=self.memory.chains[request.request_id])

    async def ListRunningJobs(
        self, request: rm.ListRunningJobsRequest, context: Context
    ) -> rm.ListRunningJobsResponse:
        await self._known(request, context)
        reply = rm.ListRunningJobsResponse()
        reply.CopyFrom(self.memory.running)
        if selected := request.filter.request_id:
            jobs = [job for job in reply.status.jobs if job.request_id == selected]
            del reply.status.jobs[:]
            reply.status.jobs.extend(jobs)
        return reply

    async def Watch(
        self, request: rm.WatchRequest, context: Context
    ) -> AsyncIterator[rm.WatchResponse]:
        (request_id,) = request.request_ids
        now = await self._known(request, context, request_id)
        self.memory.watching.set()
        breaks = self.memory.breaks
        events = self.memory.events.setdefault(request_id, [])
        seen = int(request.cursor or 0)
        if not request.cursor:
            seen = len(events)
            snapshot = request_event_pb2.RequestSnapshot(
                request=now, jobs=list(self.memory.statuses.get(request_id, {}).values())
            )
            if request.include_job_chain and request_id in self.memory.chains:
                snapshot.job_chain.CopyFrom(self.memory.chains[request_id])
            yield rm.WatchResponse(
                events=[
                    request_event_pb2.RequestEvent(
                        request_id=request_id, cursor=str(seen), snapshot=snapshot
                    )
                ]
            )
        pieces = (
            self.memory.pieces.setdefault(request_id, []) if request.include_live_output else []
        )
        printed = 0
        while True:
            while printed < len(pieces):
                event = request_event_pb2.RequestEvent(
                    request_id=request_id, cursor=str(seen), output=pieces[printed]
                )
                printed += 1
                yield rm.WatchResponse(events=[event])
            while seen < len(events):
                event = events[seen]
                seen += 1
                if not (request.requests_only and event.WhichOneof("change") == "job"):
                    yield rm.WatchResponse(events=[event])
            if self.memory.requests[request_id].state in ENDED:
                return
            async with self.memory.changed:
                while (
                    len(events) <= seen and len(pieces) <= printed and self.memory.breaks == breaks
                ):
                    await self.memory.changed.wait()
            if self.memory.breaks > breaks:
                await self._break(context)


class FakeSpecs(Fake, spec_grpc.SpecServiceServicer):
    async def ListSpecs(
        self, request: spec_service_pb2.ListSpecsRequest, context: Context
    ) -> spec_service_pb2.ListSpecsResponse:
        await self._known(request, context)
        return spec_service_pb2.ListSpecsResponse(specs=self.memory.specs)


class FakeAccess(Fake, access_grpc.AccessServiceServicer):
    async def WhoAmI(
        self, request: access.WhoAmIRequest, context: Context
    ) -> access.WhoAmIResponse:
        await self._known(request, context)
        return self.memory.caller

    async def CheckAccess(
        self, request: access.CheckAccessRequest, context: Context
    ) -> access.CheckAccessResponse:
        await self._known(request, context, request.request_id)
        return self.memory.decision


class FakeAudit(Fake, audit_grpc.AuditServiceServicer):
    async def ListAudit(
        self, request: audit.ListAuditRequest, context: Context
    ) -> audit.ListAuditResponse:
        await self._known(request, context)
        first = int(request.page_token or 0)
        end = first + min(request.page_size, 2)
        return audit.ListAuditResponse(
            entries=self.memory.audit[first:end],
            next_page_token=str(end) if end < len(self.memory.audit) else "",
        )


class FakeJobLog(Fake, jl_grpc.JobLogServiceServicer):
    async def GetEntry(self, request: jl.GetEntryRequest, context: Context) -> jl.GetEntryResponse:
        raise NotImplementedError

    async def ListEntries(
        self, request: jl.ListEntriesRequest, context: Context
    ) -> jl.ListEntriesResponse:
        await self._known(request, context)
        entries = [
            one
            for one in self.memory.entries.get(request.request_id, [])
            if request.job_id in {"", one.job_id}
            and (one.state == state_pb2.STATE_FAIL or not request.failed_only)
        ]
        first = int(request.page_token or 0)
        rest = first + 2 < len(entries)
        return jl.ListEntriesResponse(
            entries=entries[first : first + 2], next_page_token=str(first + 2) if rest else ""
        )

    async def Tail(
        self, request: jl.TailRequest, context: Context
    ) -> AsyncIterator[jl.TailResponse]:
        self.memory.received.append(request)
        entries = self.memory.entries.setdefault(request.request_id, [])
        seen = request.after_position
        breaks = self.memory.breaks
        # As the job log does, it begins with what is kept, however often one comes.
        pieces = self.memory.pieces.setdefault(request.request_id, [])
        printed = 0
        while True:
            while request.include_live_output and printed < len(pieces):
                printed += 1
                yield jl.TailResponse(events=[jl.TailEvent(output=pieces[printed - 1])])
            for entry in entries:
                if entry.position > seen:
                    seen = entry.position
                    yield jl.TailResponse(events=[jl.TailEvent(entry=entry)])
            if not request.follow:
                return
            async with self.memory.changed:
                while (
                    (not entries or entries[-1].position <= seen)
                    and (not request.include_live_output or len(pieces) <= printed)
                    and self.memory.breaks == breaks
                ):
                    await self.memory.changed.wait()
            if self.memory.breaks > breaks:
                await self._break(context)


class FakeServices:
    """Both services on one port and a gateway before them, in a thread. Use as a context.

    With `tls` they also listen at `tls_address`.
    """

    def __init__(self, tls: grpc.ServerCredentials | None = None) -> None:
        self.gateway = ""
        self.tls_address = ""
        self._tls = tls
        self.memory: Memory
        self.port = 0
        self._loop: asyncio.AbstractEventLoop
        self._up: Future[int] = Future()
        self._end: asyncio.Event
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()))

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self.port = self._up.result(30)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(30)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        self.memory = Memory()
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        rm_grpc.add_RequestManagerServiceServicer_to_server(FakeManager(self.memory), server)
        spec_grpc.add_SpecServiceServicer_to_server(FakeSpecs(self.memory), server)
        access_grpc.add_AccessServiceServicer_to_server(FakeAccess(self.memory), server)
        audit_grpc.add_AuditServiceServicer_to_server(FakeAudit(self.memory), server)
        jl_grpc.add_JobLogServiceServicer_to_server(FakeJobLog(self.memory), server)
        port = server.add_insecure_port("127.0.0.1:0")
        if self._tls:
            self.tls_address = f"127.0.0.1:{server.add_secure_port('127.0.0.1:0', self._tls)}"
        await server.start()
        address = f"127.0.0.1:{port}"
        opened = open_service_clients(address, address, address, 5)
        # The fake services decide which tokens they accept.
        config = GatewayConfig(listen="127.0.0.1:0", grace=0.1, auth=AuthConfig(none=True))
        gateway = Gateway(config, opened)
        serving = asyncio.create_task(gateway.serve())
        self.gateway = f"http://{gateway.address}"
        self._up.set_result(port)
        await self._end.wait()
        gateway.end()
        await serving
        await opened.close()
        await server.stop(None)

    def update(self, change: Callable[[Memory], None]) -> None:
        """Change the state of the services and wake the watchers."""

        async def changed() -> None:
            async with self.memory.changed:
                change(self.memory)
                self.memory.changed.notify_all()

        asyncio.run_coroutine_threadsafe(changed(), self._loop).result(30)

    def job(self, status: status_pb2.JobStatus) -> None:
        """Change the status of a job."""

        def change(memory: Memory) -> None:
            memory.statuses.setdefault(status.request_id, {})[status.job_id] = status
            self._event(memory, status.request_id, job=status)

        self.update(change)

    def request(self, request_id: str, **fields: Any) -> None:
        """Change a request."""

        def change(memory: Memory) -> None:
            memory.requests[request_id].MergeFrom(request_pb2.Request(**fields))
            self._event(memory, request_id, request=memory.requests[request_id])

        self.update(change)

    def entry(self, entry: job_log_pb2.JobLog) -> None:
        """Store a journal entry."""
        self.update(lambda memory: memory.entries.setdefault(entry.request_id, []).append(entry))

    def prints(self, piece: job_output_pb2.JobOutput) -> None:
        """Store output of a running job."""
        self.update(lambda memory: memory.pieces.setdefault(piece.request_id, []).append(piece))

    def watched(self) -> None:
        """Wait until a Watch call is open."""
        watching = self.memory.watching.wait()
        asyncio.run_coroutine_threadsafe(watching, self._loop).result(30)

    def break_streams(self) -> None:
        """End every Watch and Tail stream: with UNAUTHENTICATED if its token is rejected now."""

        def change(memory: Memory) -> None:
            memory.breaks += 1

        self.update(change)

    @staticmethod
    def _event(memory: Memory, request_id: str, **change: Any) -> None:
        events = memory.events.setdefault(request_id, [])
        cursor = str(len(events) + 1)
        event = request_event_pb2.RequestEvent(request_id=request_id, cursor=cursor, **change)
        events.append(event)
