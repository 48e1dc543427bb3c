"""gzip compression of responses."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator

_LEVEL = 5
_GZIP = 31
_LARGE = 256 * 1024
"""Bytes from which on compression runs in a thread."""


def accepts_gzip(header: str) -> bool:
    """Return whether an Accept-Encoding header accepts gzip."""
    for offer in header.lower().split(","):
        name, _, quality = offer.partition(";")
        if name.strip() in {"gzip", "*"}:
            return quality.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


async def gzipped(body: bytes) -> bytes:
    """Compress a body to one gzip member."""
    compressor = zlib.compressobj(_LEVEL, wbits=_GZIP)
    return await _compress(compressor, body) + compressor.flush()


async def gzipped_parts(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Compress a body part by part."""
    compressor = zlib.compressobj(_LEVEL, wbits=_GZIP)
    async for part in parts:
        compressed = await _compress(compressor, part)
        if compressed:
            yield compressed
    yield compressor.flush()


async def _compress(compressor: zlib._Compress, part: bytes) -> bytes:
    if len(part) < _LARGE:
        return compressor.compress(part)
    return await asyncio.to_thread(compressor.compress, part)
