"""Batches of encoded chains that fit one call to a runner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import structlog

from spincycle.errors import RequestUnreadable
from spincycle.request_manager.storage.model import Assignment

MAX_BATCH_BYTES = 16 * 1024 * 1024
"""Most bytes of chains in one call to a runner; a larger chain is sent alone, in parts."""


def readable(
    stored: Mapping[Assignment, bytes | RequestUnreadable], outcomes: Counter[str]
) -> dict[Assignment, bytes]:
    """Return the chains that could be read; log the others, and count them as unreadable.

    Those stay assigned, and are read again after their lease: a key may be missing in this process
    only, or for a while.
    """
    chains = {one: chain for one, chain in stored.items() if isinstance(chain, bytes)}
    if len(chains) < len(stored):
        errors = [error for error in stored.values() if not isinstance(error, bytes)]
        outcomes["unreadable"] += len(errors)
        structlog.get_logger().error(
            "cannot read chains",
            request_ids=[error.request_id for error in errors],
            why=errors[0].problem,
        )
    return chains


def in_batches(chains: Mapping[Assignment, bytes]) -> Iterator[dict[Assignment, bytes]]:
    """Yield chains in batches of at most MAX_BATCH_BYTES; a larger chain is a batch of its own."""
    batch: dict[Assignment, bytes] = {}
    size = 0
    for assigned, chain in chains.items():
        if batch and size + len(chain) > MAX_BATCH_BYTES:
            yield batch
            batch, size = {}, 0
        batch[assigned] = chain
        size += len(chain)
    if batch:
        yield batch
