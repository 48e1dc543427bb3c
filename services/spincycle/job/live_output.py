"""Output of a running try: the tail of each stream, in bounded space."""

from __future__ import annotations

import threading

TAIL_LIMIT = 64 * 1024
"""Bytes that are kept of the tail of one stream of a running try."""

STDOUT, STDERR = 1, 2


class LiveOutput:
    """Stores the tails of both streams; thread-safe."""

    __slots__ = ("_lock", "_tails", "_totals")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tails = {STDOUT: bytearray(), STDERR: bytearray()}
        self._totals = {STDOUT: 0, STDERR: 0}

    def write(self, stream: int, data: bytes) -> None:
        """Append the next bytes of a stream."""
        with self._lock:
            tail = self._tails[stream]
            tail += data[-TAIL_LIMIT:]
            del tail[:-TAIL_LIMIT]
            self._totals[stream] += len(data)

    def after(self, stream: int, offset: int) -> tuple[int, bytes]:
        """Return the bytes of a stream after an offset, preceded by the offset of the first one.

        The returned offset is larger than `offset` if bytes in between are no longer kept.
        """
        with self._lock:
            tail, total = self._tails[stream], self._totals[stream]
            kept = max(0, min(len(tail), total - offset))
            return total - kept, bytes(tail[len(tail) - kept :])
