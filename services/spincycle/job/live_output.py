"""What a running try has printed so far: the end of it, in bounded space."""

from __future__ import annotations

import threading

KEPT = 64 * 1024
"""Bytes that are kept of the end of one stream of a running try."""

STDOUT, STDERR = 1, 2


class LiveOutput:
    """Takes output from any thread; hands out what follows an offset, as far as it is kept."""

    __slots__ = ("_lock", "_tails", "_totals")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tails = {STDOUT: bytearray(), STDERR: bytearray()}
        self._totals = {STDOUT: 0, STDERR: 0}

    def write(self, stream: int, data: bytes) -> None:
        """Take the next bytes of a stream."""
        with self._lock:
            tail = self._tails[stream]
            tail += data[-KEPT:]
            del tail[:-KEPT]
            self._totals[stream] += len(data)

    def after(self, stream: int, offset: int) -> tuple[int, bytes]:
        """Bytes of a stream after an offset, and the offset of the first of them.

        That is a later offset if what stands between is no longer kept.
        """
        with self._lock:
            tail, total = self._tails[stream], self._totals[stream]
            kept = max(0, min(len(tail), total - offset))
            return total - kept, bytes(tail[len(tail) - kept :])
