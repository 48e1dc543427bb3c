"""The job log of a request, and the entry that a runner of the original adds to it."""

from __future__ import annotations

from collections.abc import AsyncIterator

from spincycle.errors import ServiceUnavailable
from spincycle.gateway.backends import Backend
from spincycle.gateway.decode import decode
from spincycle.gateway.exchange import Answer, Call
from spincycle.gateway.paging import Page, joined
from spincycle.gateway.raw_reads import RawReads
from spincycle.gateway.router import Route
from spincycle.gateway.routes.requests import ONE, TEXT_BYTES
from spincycle.gateway.translate.encoding import to_text
from spincycle.gateway.translate.messages import JOB_LOG
from spincycle.gateway.translate.tables import ListOf
from spincycle.internal.v1 import journal_service_pb2 as journal_pb2
from spincycle.internal.v1.journal_service_pb2_grpc import JournalServiceStub
from spincycle.recent import RecentBytes
from spincycle.rpc.status import from_message
from spincycle.v1 import job_log_service_pb2 as jl
from spincycle.v1.job_log_service_pb2_grpc import JobLogServiceStub


class JournalRoutes:
    """What ran, try by try."""

    def __init__(
        self, job_log: Backend[JobLogServiceStub], journal: Backend[JournalServiceStub]
    ) -> None:
        self._log = job_log
        self._journal = journal
        self._list = RawReads[jl.ListEntriesRequest](
            job_log, "/spincycle.v1.JobLogService/ListEntries"
        )
        self._texts: RecentBytes[bytes] = RecentBytes(TEXT_BYTES, TEXT_BYTES // 16)

    def routes(self) -> list[Route]:
        """The routes."""
        return [
            Route(
                "GET", ONE + "/log", self.entries, "every try of every job of a request",
                answer=ListOf(JOB_LOG),
            ),
            Route(
                "GET", ONE + "/log/{job_id}", self.entry, "the last try of a job",
                answer=JOB_LOG, failures=(404,),
            ),
            Route(
                "POST", ONE + "/log", self.add, "add an entry; runners call this",
                body=JOB_LOG, answer=JOB_LOG, status=201, failures=(400, 409, 415),
            ),
        ]  # fmt: skip

    async def entries(self, call: Call) -> Answer:
        """All entries by job id and try, as they come."""
        request_id = call.params["request_id"]
        raw = await self._raw_page(request_id, "")
        text = self._texts.get(raw)
        if text is not None:
            return Answer(text)
        first = _page(raw)
        if not first.following and first.elements:
            text = to_text(list(first.elements))
            self._texts.keep(raw, text, len(raw))
            return Answer(text)
        return await joined(first, lambda token: self._page(request_id, token), b"[]")

    async def _page(self, request_id: str, token: str) -> Page:
        return _page(await self._raw_page(request_id, token))

    async def _raw_page(self, request_id: str, token: str) -> bytes:
        return await self._list.ask(jl.ListEntriesRequest(request_id=request_id, page_token=token))

    async def entry(self, call: Call) -> Answer:
        """The entry with the highest try."""
        asked = jl.GetEntryRequest(
            request_id=call.params["request_id"], job_id=call.params["job_id"]
        )
        answer = await self._log.ask(self._log.stub.GetEntry, asked)
        return Answer(to_text(JOB_LOG.encode(answer.entry)))

    async def add(self, call: Call) -> Answer:
        """201 with the entry; the request is the one of the path."""
        entry = await decode(call, JOB_LOG)
        entry.request_id = call.params["request_id"]
        await self._append(journal_pb2.AppendRequest(batch=1, entries=[entry]))
        return Answer(to_text(JOB_LOG.encode(entry)), 201)

    async def _append(self, batch: journal_pb2.AppendRequest) -> None:
        async def batches() -> AsyncIterator[journal_pb2.AppendRequest]:
            yield batch

        with self._journal.failures():
            async for answer in self._journal.stub.Append(batches(), timeout=self._journal.timeout):
                for refused in answer.refused:
                    raise from_message(refused.error)
                if answer.batch >= batch.batch:
                    return
        raise ServiceUnavailable(self._journal.name, self._journal.address)


def _page(raw: bytes) -> Page:
    answer = jl.ListEntriesResponse.FromString(raw)
    return Page([JOB_LOG.encode(entry) for entry in answer.entries], answer.next_page_token)
