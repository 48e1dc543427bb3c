"""The gRPC service JobLogService: public reads of the journal."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from spincycle.batching.single_flight import SingleFlight
from spincycle.errors import InvalidInput
from spincycle.job_log.entry_ids import check_id
from spincycle.job_log.journal import Journal
from spincycle.job_log.model import EntryPage, Selection
from spincycle.job_log.read_access import OpenAccess, ReadAccess
from spincycle.job_log.tail import Tail
from spincycle.model.journal_entry import JournalEntry
from spincycle.rpc.calls import encoded
from spincycle.rpc.page_token import decode_page_token, encode_page_token
from spincycle.runtime.off_loop import off_loop
from spincycle.v1 import job_log_service_pb2 as pb
from spincycle.v1 import job_output_pb2
from spincycle.v1.job_log_service_pb2_grpc import JobLogServiceServicer
from spincycle.wire.journal import encode_entry, holds_much_data
from spincycle.wire.times import get_nanoseconds

DEFAULT_PAGE = 1000
LARGEST_PAGE = 5000
EVERYBODY = OpenAccess()
TAIL_PAGE = 500

MANY_ENTRIES = 2000
"""Entries from which a page is encoded in a thread."""

BUNDLE_BYTES = 256 * 1024
"""Bytes after which a message of Tail ends."""

BUNDLE_ITEMS = 1000
"""Items after which it ends, so that encoding small ones does not hold the event loop."""

Item: TypeAlias = JournalEntry | job_output_pb2.JobOutput

_INT64_MAX = 2**63 - 1


class JobLogService(JobLogServiceServicer):
    """Implements JobLogService of the contract.

    Args:
        access: decides which callers may read which journals.
    """

    def __init__(self, journal: Journal, tail: Tail, access: ReadAccess = EVERYBODY) -> None:
        self._journal = journal
        self._tail = tail
        self._access = access
        self._lists = SingleFlight(self._list)

    async def GetEntry(self, request: pb.GetEntryRequest, context: Any) -> pb.GetEntryResponse:
        check_id(request.request_id, "request_id")
        check_id(request.job_id, "job_id")
        await self._access.check(request.request_id)
        entry = await self._journal.get(request.request_id, request.job_id, request.try_number)
        response = await off_loop(
            holds_much_data(entry),
            lambda: pb.GetEntryResponse(entry=encode_entry(entry)).SerializeToString(),
        )
        return encoded(pb.GetEntryResponse, (response,))

    async def ListEntries(
        self, request: pb.ListEntriesRequest, context: Any
    ) -> pb.ListEntriesResponse:
        check_id(request.request_id, "request_id")
        if request.job_id:
            check_id(request.job_id, "job_id")
        await self._access.check(request.request_id)
        found = await self._lists.get(request.SerializeToString(deterministic=True))
        return encoded(pb.ListEntriesResponse, (found,))

    async def _list(self, key: bytes) -> bytes:
        request = pb.ListEntriesRequest.FromString(key)
        which = Selection(
            request_id=request.request_id,
            job_id=request.job_id,
            failed_only=request.failed_only,
            with_output=request.include_output,
            with_data=request.include_data,
            limit=min(request.page_size or DEFAULT_PAGE, LARGEST_PAGE),
        )
        if request.order == pb.ENTRY_ORDER_POSITION:
            page, token = await self._list_by_position(which, request.page_token)
        elif request.order in (pb.ENTRY_ORDER_UNSPECIFIED, pb.ENTRY_ORDER_JOB):
            page, token = await self._list_by_job(which, request.page_token)
        else:
            raise InvalidInput(f"{request.order} is not a valid order of entries", "order")
        is_large = len(page.entries) >= MANY_ENTRIES or any(map(holds_much_data, page.entries))
        return await off_loop(
            is_large,
            lambda: pb.ListEntriesResponse(
                entries=map(encode_entry, page.entries), next_page_token=token
            ).SerializeToString(),
        )

    async def Tail(self, request: pb.TailRequest, context: Any) -> AsyncIterator[pb.TailResponse]:
        check_id(request.request_id, "request_id")
        if request.job_id:
            check_id(request.job_id, "job_id")
        which = Selection(
            request_id=request.request_id,
            job_id=request.job_id,
            with_output=request.include_output,
            with_data=request.include_data,
            limit=TAIL_PAGE,
        )
        if request.HasField("since"):
            since = min(max(get_nanoseconds(request.since), -_INT64_MAX), _INT64_MAX)
            which = replace(which, ended_after=since)
        after = min(request.after_position, _INT64_MAX)
        read: Callable[[Selection, int], AsyncGenerator[Sequence[Item], None]]
        if request.follow and request.include_live_output:
            read = self._tail.follow_live
        else:
            read = self._tail.follow if request.follow else self._tail.read
        async with (
            aclosing(read(which, after)) as portions,
            aclosing(self._access.hold(request.request_id, portions)) as held,
        ):
            async for items in held:
                async for bundle in _bundles(items):
                    yield encoded(pb.TailResponse, bundle)

    async def _list_by_job(self, which: Selection, token: str) -> tuple[EntryPage, str]:
        list_key = ("job", which.request_id, which.job_id, which.failed_only)
        job_id, try_number = decode_page_token(list_key, token, str, int) if token else ("", -1)
        page = await self._journal.list_by_job(which, str(job_id), int(try_number))
        if not page.more:
            return page, ""
        last = page.entries[-1]
        return page, encode_page_token(list_key, (last.job_id, last.try_))

    async def _list_by_position(self, which: Selection, token: str) -> tuple[EntryPage, str]:
        list_key = ("position", which.request_id, which.job_id, which.failed_only)
        (after,) = decode_page_token(list_key, token, int) if token else (0,)
        page = await self._journal.list_by_position(which, int(after))
        if not page.more:
            return page, ""
        return page, encode_page_token(list_key, (page.entries[-1].position,))


async def _bundles(items: Sequence[Item]) -> AsyncIterator[list[bytes]]:
    """Serialize items, each as a TailResponse of its own, in bundles of about BUNDLE_BYTES."""
    bundle: list[bytes] = []
    size = 0
    for item in items:
        is_large = isinstance(item, JournalEntry) and holds_much_data(item)
        part = await off_loop(is_large, partial(_encode_item, item))
        if bundle and (size + len(part) > BUNDLE_BYTES or len(bundle) == BUNDLE_ITEMS):
            yield bundle
            bundle, size = [], 0
        bundle.append(part)
        size += len(part)
    if bundle:
        yield bundle


def _encode_item(item: Item) -> bytes:
    if isinstance(item, JournalEntry):
        event = pb.TailEvent(entry=encode_entry(item))
    else:
        event = pb.TailEvent(output=item)
    return pb.TailResponse(events=[event]).SerializeToString()
