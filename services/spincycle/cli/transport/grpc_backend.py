"""Calls the services over gRPC."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, TypeVar

import grpc

from spincycle.cli.settings import Settings
from spincycle.cli.transport.backend import EntryFilter
from spincycle.cli.transport.bearer import CREDENTIAL_RENEWED, BearerToken
from spincycle.cli.transport.tls import channel_credentials, tls_failure
from spincycle.errors import DeadlineExceeded, RemoteError, ServiceUnavailable, SpinCycleError
from spincycle.rpc.channel import open_channel
from spincycle.runtime.backoff import Backoff
from spincycle.v1 import request_manager_service_pb2 as rm
from spincycle.v1 import (
    request_manager_service_pb2_grpc,
    spec_service_pb2,
    spec_service_pb2_grpc,
)

if TYPE_CHECKING:
    from spincycle.v1 import (
        access_service_pb2,
        access_service_pb2_grpc,
        audit_service_pb2,
        job_chain_pb2,
        job_log_pb2,
        job_log_service_pb2_grpc,
        job_output_pb2,
        plan_pb2,
        request_event_pb2,
        request_pb2,
        spec_pb2,
    )

REQUEST_MANAGER = "the request manager"
JOB_LOG = "the job log"

_PAGE = 100
_AUDIT_PAGE = 1000
_CREATE_ATTEMPTS = 3

RequestT = TypeVar("RequestT")
ResponseT = TypeVar("ResponseT")


class GrpcBackend:
    """Backend over gRPC; the channel to the job log is opened on first use."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._bearer = BearerToken(settings)
        credentials, override = channel_credentials(settings.tls)
        self._open: Callable[[str], grpc.aio.Channel] = lambda address: open_channel(
            address, credentials=credentials, server_name=override
        )
        self._manager_channel = self._open(settings.addr)
        self._manager = request_manager_service_pb2_grpc.RequestManagerServiceStub(
            self._manager_channel
        )
        self._specs = spec_service_pb2_grpc.SpecServiceStub(self._manager_channel)
        self._job_log_channel: grpc.aio.Channel | None = None

    async def specs(self) -> list[spec_pb2.RequestSpec]:
        """See Backend."""
        specs: list[spec_pb2.RequestSpec] = []
        message = spec_service_pb2.ListSpecsRequest()
        while True:
            page = await self._call(self._specs.ListSpecs, message)
            specs += page.specs
            if not page.next_page_token:
                return specs
            message.page_token = page.next_page_token

    async def create(self, message: rm.CreateRequest) -> request_pb2.Request:
        """See Backend."""
        backoff = Backoff(0.2, 0.4)
        for attempt in range(1, _CREATE_ATTEMPTS + 1):
            try:
                return (await self._call(self._manager.Create, message)).request
            except (ServiceUnavailable, DeadlineExceeded):
                if attempt == _CREATE_ATTEMPTS or not message.idempotency_key:
                    raise
                await backoff.wait()
        raise AssertionError("the last attempt returns or raises")

    async def plan(self, message: rm.PlanRequest) -> plan_pb2.Plan:
        """See Backend."""
        message.include_job_chain = True
        return (await self._call(self._manager.Plan, message)).plan

    async def get(self, request_id: str) -> request_pb2.Request:
        """See Backend."""
        return (await self._call(self._manager.Get, rm.GetRequest(request_id=request_id))).request

    async def find(
        self, selected: request_pb2.RequestFilter, limit: int
    ) -> list[request_pb2.Request]:
        """See Backend."""
        page_size = min(limit, _PAGE) if limit else _PAGE
        found: list[request_pb2.Request] = []
        token = ""
        while True:
            page = await self._call(
                self._manager.List,
                rm.ListRequest(filter=selected, page_size=page_size, page_token=token),
            )
            found += page.requests
            token = page.next_page_token
            if not token or (limit and len(found) >= limit):
                return found[:limit] if limit else found

    async def stop(self, request_id: str, reason: str) -> request_pb2.Request:
        """See Backend."""
        message = rm.StopRequest(request_id=request_id, reason=reason)
        return (await self._call(self._manager.Stop, message)).request

    async def suspend(self, request_id: str, reason: str) -> request_pb2.Request:
        """See Backend."""
        message = rm.SuspendRequest(request_id=request_id, reason=reason)
        return (await self._call(self._manager.Suspend, message)).request

    async def resume(self, request_id: str) -> request_pb2.Request:
        """See Backend."""
        message = rm.ResumeRequest(request_id=request_id)
        return (await self._call(self._manager.Resume, message)).request

    async def rerun(
        self, request_id: str, job_ids: list[str], key: str, *, allow_concurrent: bool
    ) -> request_pb2.Request:
        """See Backend."""
        message = rm.RerunRequest(
            request_id=request_id,
            job_ids=job_ids,
            idempotency_key=key,
            allow_concurrent=allow_concurrent,
        )
        return (await self._call(self._manager.Rerun, message)).request

    async def skip(
        self, request_id: str, job_id: str, reason: str, key: str, *, allow_concurrent: bool
    ) -> request_pb2.Request:
        """See Backend."""
        message = rm.SkipRequest(
            request_id=request_id,
            job_ids=[job_id],
            reason=reason,
            idempotency_key=key,
            allow_concurrent=allow_concurrent,
        )
        return (await self._call(self._manager.Skip, message)).request

    async def explain(self, request_id: str, job_id: str = "") -> rm.ExplainResponse:
        """See Backend."""
        message = rm.ExplainRequest(request_id=request_id, job_ids=[job_id] if job_id else [])
        return await self._call(self._manager.Explain, message)

    async def running(self, request_id: str) -> rm.ListRunningJobsResponse:
        """See Backend."""
        message = rm.ListRunningJobsRequest()
        message.filter.request_id = request_id
        return await self._call(self._manager.ListRunningJobs, message)

    async def job_chain(self, request_id: str) -> job_chain_pb2.JobChain:
        """See Backend."""
        from spincycle.v1 import job_chain_pb2

        chain = job_chain_pb2.JobChain()
        async for part in self._chain_parts(request_id):
            chain.MergeFrom(part)
        return chain

    async def jobs(self, request_id: str) -> AsyncIterator[job_chain_pb2.Job]:
        """See Backend."""
        async for part in self._chain_parts(request_id):
            for job in part.jobs:
                yield job

    async def _chain_parts(self, request_id: str) -> AsyncIterator[job_chain_pb2.JobChain]:
        message = rm.StreamJobChainRequest(request_id=request_id)
        async for response in self._stream(self._manager.StreamJobChain, message):
            yield response.part

    async def watch(
        self, request_id: str, cursor: str, *, requests_only: bool = False
    ) -> AsyncIterator[request_event_pb2.RequestEvent]:
        """See Backend."""
        message = rm.WatchRequest(
            request_ids=[request_id],
            cursor=cursor,
            include_job_chain=not requests_only,
            requests_only=requests_only,
        )
        async for response in self._stream(self._manager.Watch, message):
            for event in response.events:
                yield event

    async def entries(
        self, request_id: str, selected: EntryFilter
    ) -> AsyncIterator[job_log_pb2.JobLog]:
        """See Backend."""
        from spincycle.v1 import job_log_service_pb2

        message = job_log_service_pb2.ListEntriesRequest(
            request_id=request_id,
            order=job_log_service_pb2.ENTRY_ORDER_POSITION,
            job_id=selected.job_id,
            failed_only=selected.failed_only,
            include_output=not selected.without_output,
            include_data=not selected.without_output,
        )
        while True:
            page = await self._call(self._job_log().ListEntries, message, JOB_LOG)
            for entry in page.entries:
                yield entry
            if not page.next_page_token:
                return
            message.page_token = page.next_page_token

    async def tail(
        self, request_id: str, after_position: int, *, follow: bool, live_output: bool = False
    ) -> AsyncIterator[job_log_pb2.JobLog | job_output_pb2.JobOutput]:
        """See Backend."""
        from spincycle.v1 import job_log_service_pb2

        message = job_log_service_pb2.TailRequest(
            request_id=request_id,
            after_position=after_position,
            follow=follow,
            include_output=True,
            include_data=True,
            include_live_output=follow and live_output,
        )
        async for response in self._stream(self._job_log().Tail, message, JOB_LOG):
            for event in response.events:
                item = event.WhichOneof("item")
                if item is not None:
                    yield event.output if item == "output" else event.entry

    async def audit(
        self, selected: audit_service_pb2.AuditFilter, limit: int
    ) -> list[audit_service_pb2.AuditEntry]:
        """See Backend."""
        from spincycle.v1 import audit_service_pb2, audit_service_pb2_grpc

        stub = audit_service_pb2_grpc.AuditServiceStub(self._manager_channel)
        page_size = min(limit, _AUDIT_PAGE) if limit else _AUDIT_PAGE
        message = audit_service_pb2.ListAuditRequest(filter=selected, page_size=page_size)
        found: list[audit_service_pb2.AuditEntry] = []
        while True:
            page = await self._call(stub.ListAudit, message)
            found += page.entries
            message.page_token = page.next_page_token
            if not message.page_token or (limit and len(found) >= limit):
                return found[:limit] if limit else found

    async def who_am_i(self) -> access_service_pb2.WhoAmIResponse:
        """See Backend."""
        from spincycle.v1 import access_service_pb2

        return await self._call(self._access().WhoAmI, access_service_pb2.WhoAmIRequest())

    async def check_access(
        self, message: access_service_pb2.CheckAccessRequest
    ) -> access_service_pb2.CheckAccessResponse:
        """See Backend."""
        return await self._call(self._access().CheckAccess, message)

    async def close(self) -> None:
        """See Backend."""
        await self._manager_channel.close()
        if self._job_log_channel:
            await self._job_log_channel.close()

    def _access(self) -> access_service_pb2_grpc.AccessServiceStub:
        from spincycle.v1 import access_service_pb2_grpc

        return access_service_pb2_grpc.AccessServiceStub(self._manager_channel)

    def _job_log(self) -> job_log_service_pb2_grpc.JobLogServiceStub:
        from spincycle.v1 import job_log_service_pb2_grpc

        if self._job_log_channel is None:
            self._job_log_channel = self._open(self._settings.job_log)
        return job_log_service_pb2_grpc.JobLogServiceStub(self._job_log_channel)

    async def _call(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[RequestT, ResponseT],
        request: RequestT,
        service: str = REQUEST_MANAGER,
    ) -> ResponseT:
        self._log_call(type(request).__name__, service)
        token = await self._token(service)
        try:
            return await self._attempt(method, request, token)
        except grpc.aio.AioRpcError as failure:
            if not await self._renewed(failure, token):
                raise self._translate(failure, service)
        token = await self._token(service)
        try:
            return await self._attempt(method, request, token)
        except grpc.aio.AioRpcError as failure:
            raise self._translate(failure, service)

    async def _attempt(
        self,
        method: grpc.aio.UnaryUnaryMultiCallable[RequestT, ResponseT],
        request: RequestT,
        token: str,
    ) -> ResponseT:
        return await method(request, timeout=self._settings.timeout, metadata=_metadata(token))

    async def _stream(
        self,
        method: grpc.aio.UnaryStreamMultiCallable[RequestT, ResponseT],
        request: RequestT,
        service: str = REQUEST_MANAGER,
    ) -> AsyncIterator[ResponseT]:
        """Yield the responses.

        The stream is opened again with a new token if the first one is rejected. Later the caller
        has to open it, since only it knows where to continue; the error's reason is then
        CREDENTIAL_RENEWED.
        """
        self._log_call(type(request).__name__, service)
        is_begun = is_renewed = False
        while True:
            token = await self._token(service)
            try:
                async for response in method(request, metadata=_metadata(token)):
                    is_begun = True
                    yield response
            except grpc.aio.AioRpcError as failure:
                if is_renewed or not await self._renewed(failure, token):
                    raise self._translate(failure, service)
                if is_begun:
                    raise RemoteError("the credential expired", reason=CREDENTIAL_RENEWED)
                is_renewed = True
            else:
                return

    async def _token(self, service: str) -> str:
        address = self._address(service)
        return await self._bearer.token(address, encrypted=self._settings.tls is not None)

    async def _renewed(self, failure: grpc.aio.AioRpcError, rejected: str) -> bool:
        """Return whether a call may be repeated with another token."""
        if failure.code() is not grpc.StatusCode.UNAUTHENTICATED:
            return False
        return await self._bearer.renew(rejected)

    def _translate(self, failure: grpc.aio.AioRpcError, service: str) -> SpinCycleError:
        from spincycle.rpc.status import from_rpc_error

        if self._settings.debug:
            sys.stderr.write(f"DEBUG {failure.code().name}: {failure.details()}\n")
        if failure.code() is grpc.StatusCode.UNAVAILABLE:
            address = self._address(service)
            error = tls_failure(failure.details() or "", service, address)
            if error is not None:
                return error
        error = from_rpc_error(failure, service, self._address(service))
        if isinstance(error, DeadlineExceeded):
            return DeadlineExceeded(service, self._settings.timeout)
        return error

    def _log_call(self, request: str, service: str) -> None:
        if self._settings.debug:
            sys.stderr.write(f"DEBUG {request} to {service} at {self._address(service)}\n")

    def _address(self, service: str) -> str:
        return self._settings.job_log if service == JOB_LOG else self._settings.addr


def _metadata(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),) if token else ()
