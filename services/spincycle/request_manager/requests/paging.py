"""Page tokens of the list of requests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from spincycle.errors import InvalidPageToken
from spincycle.request_manager.storage.model import PagePosition, Request
from spincycle.rpc.page_token import decode_page_token, encode_page_token
from spincycle.v1 import request_pb2

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def token_after(last: Request, which: request_pb2.RequestFilter, given: int) -> str:
    """Return the token of the page after a request; `given` requests are on the pages before."""
    microseconds = (last.created_at - _EPOCH) // timedelta(microseconds=1)
    counted = [given] if which.limit else []
    return encode_page_token(_list_key(which), [microseconds, last.request_id, *counted])


def position_of(token: str, which: request_pb2.RequestFilter) -> tuple[PagePosition | None, int]:
    """Return where the page of a token begins, and how many requests are on the pages before.

    The position is None for the empty token of the first page. Requests are counted only if the
    filter has a limit.

    Raises:
        InvalidPageToken: the token is not valid, or belongs to another filter.
    """
    if not token:
        return None, 0
    counted = [int] if which.limit else []
    microseconds, request_id, *given = decode_page_token(
        _list_key(which), token, int, str, *counted
    )
    try:
        created_at = _EPOCH + timedelta(microseconds=int(microseconds))
    except OverflowError:
        raise InvalidPageToken
    return PagePosition(created_at, str(request_id)), sum(map(int, given))


def _list_key(which: request_pb2.RequestFilter) -> list[str]:
    """Return what identifies a list; the size of its pages may change between pages."""
    listed = request_pb2.RequestFilter()
    listed.CopyFrom(which)
    listed.ClearField("limit")
    listed.ClearField("offset")
    return [listed.SerializeToString(deterministic=True).hex()]
