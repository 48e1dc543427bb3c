"""Grants to append entries on the wire: spincycle.internal.v1.AppendGrant, both ways."""

from __future__ import annotations

from spincycle.identity.append_grants import AppendGrant
from spincycle.internal.v1 import append_grant_pb2


def encode_grant(grant: AppendGrant) -> append_grant_pb2.AppendGrant:
    """Return the grant as a message."""
    return append_grant_pb2.AppendGrant(
        request_id=grant.request_id, epoch=grant.epoch, key_id=grant.key_id, code=grant.code
    )


def decode_grant(message: append_grant_pb2.AppendGrant) -> AppendGrant:
    """Return the grant in a message."""
    return AppendGrant(message.request_id, message.epoch, message.key_id, message.code)
