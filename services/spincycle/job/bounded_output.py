"""Output of any length in bounded space: its head and its tail, with a marker in between."""

from __future__ import annotations

from collections import deque

OUTPUT_LIMIT = 256 * 1024
"""Default number of bytes that are kept of one stream of one try."""


class BoundedOutput:
    """Keeps the first and the last half of `limit` bytes and counts the bytes in between."""

    def __init__(self, limit: int = OUTPUT_LIMIT) -> None:
        self._head_room = limit - limit // 2
        self._tail_limit = limit // 2
        self._head: list[bytes] = []
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self._dropped = 0
        self._counted = True

    def skip(self, least: int, *, exact: bool) -> None:
        """Count bytes that are not written: exactly `least`, or at least as many."""
        self._dropped += least
        self._counted = self._counted and exact

    def write(self, chunk: bytes) -> None:
        """Append the next bytes of the stream."""
        if self._head_room:
            kept, chunk = chunk[: self._head_room], chunk[self._head_room :]
            self._head.append(kept)
            self._head_room -= len(kept)
        if not chunk:
            return
        self._tail.append(chunk)
        self._tail_size += len(chunk)
        while self._tail_size > self._tail_limit:
            first = self._tail.popleft()
            excess = min(len(first), self._tail_size - self._tail_limit)
            self._dropped += excess
            self._tail_size -= excess
            if excess < len(first):
                self._tail.appendleft(first[excess:])

    def text(self) -> str:
        """Return the kept output; invalid UTF-8 becomes U+FFFD."""
        head = b"".join(self._head)
        tail = b"".join(self._tail)
        if not self._dropped:
            return (head + tail).decode(errors="replace")
        return (
            head.decode(errors="replace")
            + f"\n[... {'' if self._counted else 'at least '}{self._dropped} bytes cut ...]\n"
            + tail.decode(errors="replace")
        )


def bounded_text(text: str, limit: int = OUTPUT_LIMIT) -> str:
    """Return `text`, or its head and tail with a marker if it is longer than `limit` bytes."""
    if len(text) * 4 <= limit:
        return text
    output = BoundedOutput(limit)
    if len(text) > 2 * limit:
        # Encode only what may be kept: encoding a gigabyte takes seconds.
        output.write(text[:limit].encode(errors="replace"))
        output.skip(len(text) - 2 * limit, exact=text.isascii())
        output.write(text[-limit:].encode(errors="replace"))
        return output.text()
    encoded = text.encode(errors="replace")
    if len(encoded) <= limit:
        return text
    output.write(encoded)
    return output.text()
