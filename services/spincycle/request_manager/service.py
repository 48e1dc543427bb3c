"""RequestManagerService: wire types in, wire types out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

import grpc

from spincycle.access.caller import current_caller
from spincycle.access.limits import CallerLimits
from spincycle.chain.waiting import WaitSelection
from spincycle.errors import ChainTooLarge, InvalidInput
from spincycle.graph.plan import make_plan
from spincycle.model.redaction import redacted_chain
from spincycle.request_manager.chain_archive import ChainArchive
from spincycle.request_manager.codec import (
    decode_filter,
    encode_arg,
    encode_request,
)
from spincycle.request_manager.request_encoding import encode_or_report
from spincycle.request_manager.requests.access_control import AccessControl
from spincycle.request_manager.requests.control import RequestControl
from spincycle.request_manager.requests.create import BuiltRequest, CreateParams, RequestCreator
from spincycle.request_manager.requests.explain import Explainer
from spincycle.request_manager.requests.given_args import LargeArgs, read_args
from spincycle.request_manager.requests.read import RequestReader
from spincycle.request_manager.requests.rerun import RerunCreator, RerunParams
from spincycle.request_manager.requests.running_jobs import RunningJobs
from spincycle.request_manager.watch.subscriptions import Subscriptions
from spincycle.request_manager.watch.watch_options import WatchOptions
from spincycle.rpc.calls import encoded
from spincycle.rpc.limits import MAX_MESSAGE_BYTES
from spincycle.rpc.page_token import decode_page_token, encode_page_token
from spincycle.runtime.off_loop import LARGE_BYTES, off_loop
from spincycle.v1 import (
    job_chain_pb2,
    plan_pb2,
    request_manager_service_pb2_grpc,
    status_pb2,
)
from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.wire.chain import encode_chain
from spincycle.wire.chain_parts import parts_of_chain

MANY_JOBS = 1000
"""Jobs of a chain from which it is serialized in a thread."""

MAX_EXPLAINED = 1000
"""Most jobs in a page of Explain."""

EMBEDDING_BYTES = 16
"""Most bytes of a response beside the one message in it."""

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class UseCases:
    """Use cases that the service calls."""

    creator: RequestCreator
    rerun_creator: RerunCreator
    control: RequestControl
    explainer: Explainer
    reader: RequestReader
    running_jobs: RunningJobs
    watch: Subscriptions
    archive: ChainArchive
    access: AccessControl
    limits: CallerLimits


class RequestManagerService(request_manager_service_pb2_grpc.RequestManagerServiceServicer):
    """Translates calls to calls of use cases; the contract documents each RPC."""

    def __init__(self, use: UseCases) -> None:
        self._use = use
        self._large_args = LargeArgs()

    async def Create(self, request: rpc.CreateRequest, context: Context) -> rpc.CreateResponse:
        size = request.args.ByteSize()
        async with self._large_args.slot(size):
            return await self._create(request, size, context)

    async def _create(
        self, request: rpc.CreateRequest, size: int, context: Context
    ) -> rpc.CreateResponse:
        params = CreateParams(
            type=request.type,
            args=await read_args(request.args, size),
            caller=current_caller(),
            user=request.user,
            idempotency_key=request.idempotency_key,
            expected_plan_hash=request.expected_plan_hash,
            priority=request.priority,
            size=size,
        )
        stored, args, existed = await self._use.creator.create(params)
        message = encode_request(stored)
        message.args.extend(
            await off_loop(params.size >= LARGE_BYTES, lambda: [encode_arg(arg) for arg in args])
        )
        return rpc.CreateResponse(request=message, existed=existed)

    async def Plan(self, request: rpc.PlanRequest, context: Context) -> rpc.PlanResponse:
        size = request.args.ByteSize()
        async with self._large_args.slot(size):
            return await self._plan(request, size)

    async def _plan(self, request: rpc.PlanRequest, size: int) -> rpc.PlanResponse:
        args = await read_args(request.args, size)
        params = CreateParams(request.type, args, current_caller(), size=size)
        built = await self._use.creator.plan(params)
        response = await off_loop(
            params.is_large_chain(len(built.chain.jobs)),
            lambda: _plan(request.type, built, with_chain=request.include_job_chain),
        )
        return encoded(rpc.PlanResponse, (response,))

    async def Get(self, request: rpc.GetRequest, context: Context) -> rpc.GetResponse:
        found = await self._use.reader.get(
            request.request_id, current_caller(), with_chain=request.include_job_chain
        )
        return encoded(rpc.GetResponse, (found,))

    async def List(self, request: rpc.ListRequest, context: Context) -> rpc.ListResponse:
        return encoded(rpc.ListResponse, (await self._use.reader.find(request, current_caller()),))

    async def Start(self, request: rpc.StartRequest, context: Context) -> rpc.StartResponse:
        await self._use.control.start(request.request_id, current_caller())
        return rpc.StartResponse()

    async def Stop(self, request: rpc.StopRequest, context: Context) -> rpc.StopResponse:
        stored = await self._use.control.stop(request.request_id, current_caller(), request.reason)
        return rpc.StopResponse(request=encode_request(stored))

    async def Suspend(self, request: rpc.SuspendRequest, context: Context) -> rpc.SuspendResponse:
        stored = await self._use.control.suspend(
            request.request_id, current_caller(), request.reason
        )
        return rpc.SuspendResponse(request=encode_request(stored))

    async def Resume(self, request: rpc.ResumeRequest, context: Context) -> rpc.ResumeResponse:
        stored = await self._use.control.resume(request.request_id, current_caller())
        return rpc.ResumeResponse(request=encode_request(stored))

    async def Rerun(self, request: rpc.RerunRequest, context: Context) -> rpc.RerunResponse:
        params = RerunParams(
            request_id=request.request_id,
            caller=current_caller(),
            job_ids=tuple(request.job_ids),
            idempotency_key=request.idempotency_key,
            allow_concurrent=request.allow_concurrent,
        )
        return rpc.RerunResponse(
            request=encode_request(await self._use.rerun_creator.create(params))
        )

    async def Skip(self, request: rpc.SkipRequest, context: Context) -> rpc.SkipResponse:
        if not all(request.job_ids) or not request.job_ids:
            raise InvalidInput("name the job to skip", "job_ids")
        params = RerunParams(
            request_id=request.request_id,
            caller=current_caller(),
            skip=tuple(dict.fromkeys(request.job_ids)),
            reason=request.reason,
            idempotency_key=request.idempotency_key,
            allow_concurrent=request.allow_concurrent,
        )
        return rpc.SkipResponse(
            request=encode_request(await self._use.rerun_creator.create(params))
        )

    async def Explain(self, request: rpc.ExplainRequest, context: Context) -> rpc.ExplainResponse:
        listed: list[str | int] = ["explain", request.request_id]
        listed += [*request.job_ids, *request.reasons]
        after = ""
        if request.page_token:
            (after,) = map(str, decode_page_token(listed, request.page_token, str))
        page_size = min(request.page_size or MAX_EXPLAINED, MAX_EXPLAINED)
        which = WaitSelection(
            frozenset(request.job_ids), frozenset(request.reasons), page_size + 1, after
        )
        found = await self._use.reader.row(request.request_id, current_caller())
        response = await self._use.explainer.explain(found, which)
        if len(response.jobs) > page_size:
            del response.jobs[page_size:]
            response.next_page_token = encode_page_token(listed, (response.jobs[-1].job_id,))
        return response

    async def GetJobChain(
        self, request: rpc.GetJobChainRequest, context: Context
    ) -> rpc.GetJobChainResponse:
        await self._use.reader.check_viewable(request.request_id, current_caller())
        chain = await self._use.archive.chain(request.request_id)
        if chain.ByteSize() + EMBEDDING_BYTES > MAX_MESSAGE_BYTES:
            raise ChainTooLarge(request.request_id, len(chain.jobs))
        response = await off_loop(
            len(chain.jobs) >= MANY_JOBS,
            lambda: rpc.GetJobChainResponse(job_chain=chain).SerializeToString(),
        )
        return encoded(rpc.GetJobChainResponse, (response,))

    async def StreamJobChain(
        self, request: rpc.StreamJobChainRequest, context: Context
    ) -> AsyncIterator[rpc.StreamJobChainResponse]:
        await self._use.reader.check_viewable(request.request_id, current_caller())
        chain = await self._use.archive.chain(request.request_id)
        parts, is_large = parts_of_chain(chain), len(chain.jobs) >= MANY_JOBS
        while part := await off_loop(is_large, lambda: _fetched(parts)):
            yield encoded(rpc.StreamJobChainResponse, (part,))

    async def ListRunningJobs(
        self, request: rpc.ListRunningJobsRequest, context: Context
    ) -> rpc.ListRunningJobsResponse:
        running = await self._use.running_jobs.find(request, current_caller())
        return rpc.ListRunningJobsResponse(
            status=status_pb2.RunningStatus(
                jobs=running.jobs,
                requests={one.request_id: encode_or_report(one) for one in running.requests},
            ),
            silent_runner_ids=running.silent_runner_ids,
            has_running_requests=running.any_request,
            next_page_token=running.next_page_token,
            total_size=running.total_size,
        )

    async def Watch(
        self, request: rpc.WatchRequest, context: Context
    ) -> AsyncIterator[rpc.WatchResponse]:
        _check_watch(request)
        caller = current_caller()
        options = WatchOptions(
            request.include_job_chain,
            request.requests_only,
            request.include_live_output,
            self._use.access.viewable_types(caller),
        )
        watch = self._use.watch
        parts = (
            watch.by_ids(list(request.request_ids), options, request.cursor)
            if request.request_ids
            else watch.by_filter(decode_filter(request.filter), options, request.cursor)
        )
        # A cursor may be large, and a stream may last for days: do not keep it.
        del request
        with self._use.limits.stream(caller.name):
            async with aclosing(parts):
                async for part in parts:
                    yield encoded(rpc.WatchResponse, [part])


def _check_watch(request: rpc.WatchRequest) -> None:
    """Raise InvalidInput if the call sets what its kind of stream does not use."""
    if request.request_ids:
        unused = ["filter"] if request.HasField("filter") else []
    else:
        of_filter = request.filter
        unused = [f"filter.{name}" for name in ("since", "until") if of_filter.HasField(name)]
        unused += [f"filter.{name}" for name in ("limit", "offset") if getattr(of_filter, name)]
        unused += ["include_live_output"] if request.include_live_output else []
    if unused:
        named = "named requests" if request.request_ids else "requests by a filter"
        raise InvalidInput(f"Watch of {named} does not use {unused[0]}; leave it unset", unused[0])


def _fetched(parts: Iterator[job_chain_pb2.JobChain]) -> bytes:
    """Return the next part of a chain as a serialized response; empty after the last one."""
    part = next(parts, None)
    return rpc.StreamJobChainResponse(part=part).SerializeToString() if part is not None else b""


def _plan(type_: str, built: BuiltRequest, *, with_chain: bool) -> bytes:
    plan = make_plan(redacted_chain(built.chain), built.args, built.spec_revision)
    message = plan_pb2.Plan(
        type=type_,
        args=[encode_arg(arg) for arg in plan.args],
        job_chain=encode_chain(plan.chain) if with_chain else None,
        plan_hash=built.plan_hash,
        specs_hash=plan.spec_revision,
        total_jobs=plan.total_jobs,
        work_jobs=plan.work_jobs,
        widest=plan.widest,
        depth=plan.depth,
    )
    return rpc.PlanResponse(plan=message).SerializeToString()
