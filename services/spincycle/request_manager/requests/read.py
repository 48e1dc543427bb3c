"""Reads and lists requests for concurrent callers, as serialized responses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from spincycle.access.caller import Caller
from spincycle.batching.byte_lru import ByteLru
from spincycle.batching.coalescer import Coalescer
from spincycle.batching.single_flight import SingleFlight
from spincycle.errors import ChainTooLarge, RequestNotFound
from spincycle.request_manager.chain_archive import ChainArchive
from spincycle.request_manager.codec import decode_filter, encode_request
from spincycle.request_manager.request_encoding import encode_or_report, request_failure
from spincycle.request_manager.requests.access_control import AccessControl
from spincycle.request_manager.requests.paging import position_of, token_after
from spincycle.request_manager.storage.model import Request
from spincycle.request_manager.storage.request_store import RequestStore
from spincycle.rpc.limits import CLIENT_MESSAGE_BYTES, MAX_MESSAGE_BYTES
from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1 import request_pb2
from spincycle.wire.parts import embedded

DEFAULT_PAGE = 100
"""Requests in a page of List if the caller sets no page size."""

MAX_PAGE = 1000
"""Most requests in a page of List."""

ARCHIVE_BYTES = 16 * 1024 * 1024
"""Bytes of archives that are cached; each takes at most a sixteenth."""

_ListKey = tuple[bytes, frozenset[str] | None]
"""A serialized ListRequest, and the types that its caller may view."""

_REQUEST = rpc.GetResponse.REQUEST_FIELD_NUMBER


class RequestReader:
    """Serves Get and List.

    Archives never change: they are cached as encoded. Rows are read for every call, by one query
    for all calls that wait.
    """

    def __init__(self, store: RequestStore, archive: ChainArchive, access: AccessControl) -> None:
        self._store = store
        self._access = access
        self._archive = archive
        self._requests = Coalescer[str, Request | None](self._read)
        self._lists = SingleFlight[_ListKey, bytes](self._list)
        self._archives: ByteLru[tuple[str, bool]] = ByteLru(ARCHIVE_BYTES, ARCHIVE_BYTES // 16)

    async def row(self, request_id: str, caller: Caller) -> Request:
        """Return a request as stored.

        Raises:
            RequestNotFound: the request does not exist, or the caller may not view it.
        """
        stored = await self._requests.submit(request_id)
        if stored is None or not self._access.may_view(caller, stored.type):
            raise RequestNotFound(request_id)
        return stored

    async def check_viewable(self, request_id: str, caller: Caller) -> None:
        """Check that a caller may view a request; read it only if that depends on its type.

        Raises:
            RequestNotFound: the request does not exist, or the caller may not view it.
        """
        if self._access.viewable_types(caller) is not None:
            await self.row(request_id, caller)

    async def viewable(self, request_ids: Sequence[str], caller: Caller) -> list[str]:
        """Return those of the requests that exist and that the caller may view."""
        return await self._store.existing(request_ids, self._access.viewable_types(caller))

    async def get(self, request_id: str, caller: Caller, *, with_chain: bool) -> bytes:
        """Return a serialized GetResponse.

        Raises:
            RequestNotFound: the request does not exist, or the caller may not view it.
            ChainTooLarge: the response with the chain does not fit a message.
            RequestUnreadable: its stored data cannot be read.
        """
        stored = await self.row(request_id, caller)
        archive = self._archives.get((request_id, with_chain))
        if archive is None:
            archive = await self._archive.archive(request_id, with_chain=with_chain)
            self._archives.put((request_id, with_chain), archive)
        # Concatenated messages of one type are one message with the fields of both.
        try:
            whole = encode_request(stored).SerializeToString() + archive
        except ValueError as cause:
            raise request_failure(request_id, cause)
        if len(whole) > MAX_MESSAGE_BYTES:
            raise ChainTooLarge(request_id, stored.total_jobs)
        return embedded(_REQUEST, whole)

    async def find(self, request: rpc.ListRequest, caller: Caller) -> bytes:
        """Return a serialized ListResponse with what the caller may view.

        Identical concurrent calls of callers who may view the same share one query.

        Raises:
            InvalidPageToken: the token is not valid, or belongs to another filter.
        """
        types = self._access.viewable_types(caller)
        return await self._lists.get((request.SerializeToString(deterministic=True), types))

    async def _read(self, request_ids: Sequence[str]) -> list[Request | None]:
        found = await self._store.get(list(set(request_ids)))
        return [found.get(request_id) for request_id in request_ids]

    async def _list(self, key: _ListKey) -> bytes:
        encoded, types = key
        request = rpc.ListRequest.FromString(encoded)
        which: request_pb2.RequestFilter = request.filter
        limit = min(request.page_size or DEFAULT_PAGE, MAX_PAGE)
        after, given = position_of(request.page_token, which)
        if which.limit:
            limit = max(min(limit, which.limit - given), 0)
        offset = which.offset if which.limit and not after else 0
        selected = replace(decode_filter(which), types=types)
        found = await self._store.find(selected, limit + 1, offset, after, with_args=False)
        response = rpc.ListResponse()
        size = 0
        for place, one in enumerate(found):
            if place == limit or size > CLIENT_MESSAGE_BYTES:
                if not which.limit or given + place < which.limit:
                    response.next_page_token = token_after(found[place - 1], which, given + place)
                break
            message = encode_or_report(one)
            size += message.ByteSize()
            response.requests.append(message)
        return response.SerializeToString()
