"""Output of any length in bounded space: its head and its tail, with a marker in between."""

from __future__ import annotations

import re

OUTPUT_LIMIT = 256 * 1024
"""Default number of bytes that are kept of one stream of one try."""

_MARK = re.compile(r"\n\[\.\.\. (at least )?\d+ bytes cut \.\.\.\]\n")

_MARK_ROOM = 64
"""Bytes of a marker and of the replacements for characters that were cut in two beside it."""


class BoundedOutput:
    """Keeps the first and the last half of `limit` bytes and counts the bytes in between."""

    __slots__ = ("_counted", "_dropped", "_head", "_head_limit", "_tail", "_tail_limit")

    def __init__(self, limit: int = OUTPUT_LIMIT) -> None:
        self._head_limit = limit - limit // 2
        self._tail_limit = limit // 2
        self._head = bytearray()
        self._tail = bytearray()
        self._dropped = 0
        self._counted = True

    @property
    def size(self) -> int:
        """Number of bytes written so far."""
        return len(self._head) + self._dropped + len(self._tail)

    @property
    def in_line(self) -> bool:
        """Whether the last line is not complete."""
        last = self._tail or self._head
        return bool(last) and not last.endswith(b"\n")

    def skip(self, least: int, *, exact: bool) -> None:
        """Count bytes that are not written: exactly `least`, or at least as many."""
        self._dropped += least
        self._counted = self._counted and exact

    def write(self, chunk: bytes) -> None:
        """Append the next bytes of the stream."""
        room = self._head_limit - len(self._head)
        if room > 0:
            self._head += chunk[:room]
            chunk = chunk[room:]
        excess = len(self._tail) + len(chunk) - self._tail_limit
        if excess <= 0:
            self._tail += chunk
            return
        self._dropped += excess
        if len(chunk) < self._tail_limit:
            del self._tail[:excess]
            self._tail += chunk
        else:
            self._tail[:] = chunk[len(chunk) - self._tail_limit :]

    def after(self, offset: int, limit: int) -> tuple[int, bytes]:
        """Return what is kept after an offset, and the offset of its first byte.

        Of more than `limit` bytes the last ones are returned. The returned offset is higher than
        `offset` if bytes in between are not returned.
        """
        size, tail_start = self.size, self.size - len(self._tail)
        offset = min(max(offset, size - limit), size)
        if offset >= tail_start:
            return offset, bytes(self._tail[offset - tail_start :])
        if not self._dropped:
            return offset, bytes(self._head[offset:] + self._tail)
        if offset < len(self._head):
            return offset, bytes(self._head[offset:])
        return tail_start, bytes(self._tail)

    def text(self) -> str:
        """Return the kept output; invalid UTF-8 becomes U+FFFD."""
        if not self._dropped:
            return (self._head + self._tail).decode(errors="replace")
        return (
            self._head.decode(errors="replace")
            + f"\n[... {'' if self._counted else 'at least '}{self._dropped} bytes cut ...]\n"
            + self._tail.decode(errors="replace")
        )


def bounded_text(text: str, limit: int = OUTPUT_LIMIT) -> str:
    """Return `text`, or its head and tail with a marker if it is longer than `limit` bytes.

    A text that was cut by the same limit is returned unchanged.
    """
    if len(text) * 4 <= limit:
        return text
    output = BoundedOutput(limit)
    if len(text) > 2 * limit + _MARK_ROOM:
        # Encode only what may be kept: encoding a gigabyte takes seconds.
        output.write(text[:limit].encode(errors="replace"))
        output.skip(len(text) - 2 * limit, exact=text.isascii())
        output.write(text[-limit:].encode(errors="replace"))
        return output.text()
    encoded = text.encode(errors="replace")
    if len(encoded) <= limit or (len(encoded) <= limit + _MARK_ROOM and _MARK.search(text)):
        return text
    output.write(encoded)
    return output.text()
