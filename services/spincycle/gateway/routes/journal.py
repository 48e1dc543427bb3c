"""Routes of the journal of a request."""

from __future__ import annotations

from spincycle.batching.byte_lru import ByteLru
from spincycle.errors import RequestNotFound, SpinCycleError
from spincycle.gateway.deduplicated_calls import DeduplicatedCalls
from spincycle.gateway.http_messages import HttpRequest, HttpResponse
from spincycle.gateway.paging import ListPage, joined
from spincycle.gateway.router import Route
from spincycle.gateway.routes.requests import LARGE, ONE, TEXT_BYTES
from spincycle.gateway.service_clients import ServiceClient
from spincycle.rest_codec.encoding import to_text
from spincycle.rest_codec.messages import JOB_LOG
from spincycle.rest_codec.tables import ListOf
from spincycle.runtime.off_loop import off_loop
from spincycle.v1 import job_log_service_pb2 as jl
from spincycle.v1.job_log_service_pb2_grpc import JobLogServiceStub


class JournalRoutes:
    """Routes that read journal entries."""

    def __init__(self, job_log: ServiceClient[JobLogServiceStub]) -> None:
        self._log = job_log
        self._list = DeduplicatedCalls[jl.ListEntriesRequest](
            job_log, "/spincycle.v1.JobLogService/ListEntries"
        )
        self._texts: ByteLru[bytes] = ByteLru(TEXT_BYTES, TEXT_BYTES // 16)

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(
                "GET", ONE + "/log", self.entries, "list every try of every job of a request",
                response=ListOf(JOB_LOG),
            ),
            Route(
                "GET", ONE + "/log/{job_id}", self.entry, "return the last try of a job",
                response=JOB_LOG, failures=(404,),
            ),
        ]  # fmt: skip

    async def entries(self, http: HttpRequest) -> HttpResponse:
        """Return all entries by job id and try, streamed page by page.

        As by the original, a request that does not exist, or that the caller may not view, has no
        entries.
        """
        request_id = http.params["request_id"]
        try:
            raw = await self._raw_page(request_id, "")
        except SpinCycleError as error:
            if error.reason != RequestNotFound.reason:
                raise
            return HttpResponse(b"[]\n")
        text = self._texts.get(raw)
        if text is not None:
            return HttpResponse(text)
        first = await off_loop(len(raw) >= LARGE, lambda: _page(raw))
        if not first.next_token and first.elements:
            text = to_text(list(first.elements))
            self._texts.put(raw, text, len(raw))
            return HttpResponse(text)
        return await joined(first, lambda token: self._page(request_id, token), b"[]")

    async def _page(self, request_id: str, token: str) -> ListPage:
        raw = await self._raw_page(request_id, token)
        return await off_loop(len(raw) >= LARGE, lambda: _page(raw))

    async def _raw_page(self, request_id: str, token: str) -> bytes:
        return await self._list.call(
            jl.ListEntriesRequest(request_id=request_id, page_token=token, include_output=True)
        )

    async def entry(self, http: HttpRequest) -> HttpResponse:
        """Return the entry with the highest try number."""
        message = jl.GetEntryRequest(
            request_id=http.params["request_id"], job_id=http.params["job_id"]
        )
        response = await self._log.call(self._log.stub.GetEntry, message)
        return HttpResponse(to_text(JOB_LOG.encode(response.entry)))


def _page(raw: bytes) -> ListPage:
    response = jl.ListEntriesResponse.FromString(raw)
    return ListPage([JOB_LOG.encode(entry) for entry in response.entries], response.next_page_token)
