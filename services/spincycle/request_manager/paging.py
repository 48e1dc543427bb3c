"""Page tokens of lists: opaque, bound to their filter, and no secret."""

from __future__ import annotations

import base64
import binascii
import hashlib
from datetime import datetime

import orjson

from spincycle.errors import InvalidPageToken
from spincycle.request_manager.model import Position, Request
from spincycle.v1 import request_pb2


def encode_page_token(last: Request, which: request_pb2.RequestFilter) -> str:
    """The token of the page that begins after a request."""
    content = [last.created_at.isoformat(), last.request_id, _digest(which)]
    return base64.urlsafe_b64encode(orjson.dumps(content)).decode()


def decode_page_token(token: str, which: request_pb2.RequestFilter) -> Position | None:
    """Where the page of a token begins; None for the empty token of the first page.

    Raises:
        InvalidPageToken: the token is none of ours, or belongs to another filter.
    """
    if not token:
        return None
    try:
        created_at, request_id, digest = orjson.loads(base64.urlsafe_b64decode(token))
        position = Position(datetime.fromisoformat(created_at), str(request_id))
    except (ValueError, TypeError, binascii.Error):
        raise InvalidPageToken
    if digest != _digest(which):
        raise InvalidPageToken
    return position


def _digest(which: request_pb2.RequestFilter) -> str:
    filtered = request_pb2.RequestFilter()
    filtered.CopyFrom(which)
    filtered.ClearField("limit")
    filtered.ClearField("offset")
    return hashlib.sha256(filtered.SerializeToString(deterministic=True)).hexdigest()[:16]
