"""gzip for callers that accept it."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator

_LEVEL = 5
_GZIP = 31
_LARGE = 256 * 1024
"""Bytes from which on compressing may not hold up the loop."""


def accepts_gzip(header: str) -> bool:
    """Whether an Accept-Encoding header names gzip, with a quality above 0."""
    for offer in header.lower().split(","):
        name, _, quality = offer.partition(";")
        if name.strip() in {"gzip", "*"}:
            return quality.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}
    return False


async def gzipped(body: bytes) -> bytes:
    """The body as one gzip member."""
    packer = zlib.compressobj(_LEVEL, wbits=_GZIP)
    return await _packed(packer, body) + packer.flush()


async def gzipped_parts(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same body compressed, a part at a time."""
    packer = zlib.compressobj(_LEVEL, wbits=_GZIP)
    async for part in parts:
        packed = await _packed(packer, part)
        if packed:
            yield packed
    yield packer.flush()


async def _packed(packer: zlib._Compress, part: bytes) -> bytes:
    if len(part) < _LARGE:
        return packer.compress(part)
    return await asyncio.to_thread(packer.compress, part)
