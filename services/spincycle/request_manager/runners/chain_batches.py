"""Batches of encoded chains that fit one call to a runner."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from spincycle.request_manager.storage.model import Assignment

MAX_BATCH_BYTES = 16 * 1024 * 1024
"""Most bytes of chains in one call to a runner; a larger chain is sent alone, in parts."""


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
