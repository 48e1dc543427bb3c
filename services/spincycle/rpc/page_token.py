"""Page tokens: opaque positions in a list, bound to the list's filter."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from hashlib import blake2b

import orjson

from spincycle.errors import InvalidPageToken

Key = str | int

_INT64 = 2**63


def encode_page_token(list_key: Sequence[Key], position: Sequence[Key]) -> str:
    """Return a token for the page after `position`; `list_key` identifies the list and filter."""
    payload = orjson.dumps([_fingerprint(list_key), *position])
    return urlsafe_b64encode(payload).rstrip(b"=").decode()


def decode_page_token(list_key: Sequence[Key], token: str, *types: type[Key]) -> tuple[Key, ...]:
    """Return the position in a token; `types` are the types of its parts.

    Raises:
        InvalidPageToken: the token is for another list, or was not issued by `encode_page_token`.
    """
    try:
        payload = orjson.loads(urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (ValueError, binascii.Error):
        raise InvalidPageToken
    if not isinstance(payload, list) or [type(part) for part in payload] != [str, *types]:
        raise InvalidPageToken
    if payload[0] != _fingerprint(list_key) or not all(map(_fits_column, payload[1:])):
        raise InvalidPageToken
    return tuple(payload[1:])


def _fits_column(part: Key) -> bool:
    """Return whether a database column can hold the part; a forged token may contain anything."""
    return "\0" not in part if isinstance(part, str) else -_INT64 <= part < _INT64


def _fingerprint(list_key: Sequence[Key]) -> str:
    return blake2b(orjson.dumps(list(list_key)), digest_size=6).hexdigest()
