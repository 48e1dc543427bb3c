"""Page tokens of the list of requests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from spincycle.errors import InvalidPageToken
from spincycle.request_manager.storage.model import PagePosition, Request
from spincycle.rpc.page_token import decode_page_token, encode_page_token
from spincycle.v1 import request_pb2

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def token_after(last: Request, which: request_pb2.RequestFilter) -> str:
    """Return the token of the page that begins after a request."""
    microseconds = (last.created_at - _EPOCH) // timedelta(microseconds=1)
    return encode_page_token(_list_key(which), [microseconds, last.request_id])


def position_of(token: str, which: request_pb2.RequestFilter) -> PagePosition | None:
    """Return the position at which the page of a token begins; None for the first page.

    Raises:
        InvalidPageToken: the token is not valid, or belongs to another filter.
    """
    if not token:
        return None
    microseconds, request_id = decode_page_token(_list_key(which), token, int, str)
    try:
        created_at = _EPOCH + timedelta(microseconds=int(microseconds))
    except OverflowError:
        raise InvalidPageToken
    return PagePosition(created_at, str(request_id))


def _list_key(which: request_pb2.RequestFilter) -> list[str]:
    """Return what identifies a list; the size of its pages may change between pages."""
    listed = request_pb2.RequestFilter()
    listed.CopyFrom(which)
    listed.ClearField("limit")
    listed.ClearField("offset")
    return [listed.SerializeToString(deterministic=True).hex()]
