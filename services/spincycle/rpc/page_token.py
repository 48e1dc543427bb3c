"""Page tokens: where a list goes on, bound to what was listed, opaque to the caller."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from hashlib import blake2b

import orjson

from spincycle.errors import InvalidPageToken

Key = str | int

_INT64 = 2**63


def encode_page_token(listed: Sequence[Key], position: Sequence[Key]) -> str:
    """A token for the page after `position` of the list that `listed` describes."""
    told = orjson.dumps([_fingerprint(listed), *position])
    return urlsafe_b64encode(told).rstrip(b"=").decode()


def decode_page_token(listed: Sequence[Key], token: str, *kinds: type[Key]) -> tuple[Key, ...]:
    """The position in a token, whose parts are of the given kinds.

    Raises:
        InvalidPageToken: the token was made for another list, or not here.
    """
    try:
        told = orjson.loads(urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    except (ValueError, binascii.Error):
        raise InvalidPageToken
    if not isinstance(told, list) or [type(part) for part in told] != [str, *kinds]:
        raise InvalidPageToken
    if told[0] != _fingerprint(listed) or not all(map(_can_be_position, told[1:])):
        raise InvalidPageToken
    return tuple(told[1:])


def _can_be_position(part: Key) -> bool:
    """Whether a column could hold it; whoever writes a token of his own may try anything."""
    return "\0" not in part if isinstance(part, str) else -_INT64 <= part < _INT64


def _fingerprint(listed: Sequence[Key]) -> str:
    return blake2b(orjson.dumps(list(listed)), digest_size=6).hexdigest()
