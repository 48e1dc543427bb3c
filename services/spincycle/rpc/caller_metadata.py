"""Callers in the metadata of internal calls: tokens, and assertions of gateways."""

from __future__ import annotations

import time

from google.protobuf.message import DecodeError

from spincycle.access.caller import Caller
from spincycle.access.credential_limit import EXPIRED
from spincycle.errors import NotAuthenticated
from spincycle.internal.v1 import caller_pb2

ASSERTION = "spincycle-caller-bin"
"""Metadata key of an assertion."""

VALIDITY = 60.0
"""Seconds for which an assertion counts."""

Metadata = tuple[tuple[str, str | bytes], ...]


def encode_caller(caller: Caller) -> caller_pb2.Caller:
    """Encode a caller; it counts for VALIDITY."""
    return caller_pb2.Caller(
        name=caller.name,
        roles=caller.roles,
        authenticator=caller.authenticator,
        peer=caller.peer,
        expires_at=caller.expires_at or 0.0,
        valid_until=time.time() + VALIDITY,
    )


def decode_caller(message: caller_pb2.Caller) -> Caller:
    """Decode a caller."""
    return Caller(
        message.name,
        tuple(message.roles),
        message.authenticator,
        message.peer,
        message.expires_at or None,
    )


def assertion_of(caller: Caller) -> Metadata:
    """Return the metadata by which a gateway passes on a caller."""
    return ((ASSERTION, encode_caller(caller).SerializeToString()),)


def asserted_caller(values: list[str | bytes]) -> Caller | None:
    """Return the caller that a gateway passes on; None without an assertion.

    Raises:
        NotAuthenticated: there are several assertions, or the one is damaged, too old, of an
            expired credential or of a service.
    """
    if not values:
        return None
    if len(values) > 1 or not isinstance(values[0], bytes):
        raise NotAuthenticated("the call does not have one assertion of a gateway")
    try:
        message = caller_pb2.Caller.FromString(values[0])
    except DecodeError:
        raise NotAuthenticated("the assertion of the gateway is damaged")
    now = time.time()
    if not now - VALIDITY < message.valid_until <= now + 2 * VALIDITY:
        raise NotAuthenticated(
            "the assertion of the gateway is not of this time; check the clocks of both machines"
        )
    caller = decode_caller(message)
    if caller.is_service:
        # A gateway speaks for people and programs only.
        raise NotAuthenticated("the assertion of the gateway names a service")
    if caller.expires_at is not None and caller.expires_at <= now:
        raise NotAuthenticated(EXPIRED)
    return caller
