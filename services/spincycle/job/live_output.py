"""Output of a running try: the tail of each stream, in bounded space, without secrets."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spincycle.model.scrubber import Scrubber

TAIL_LIMIT = 64 * 1024
"""Bytes that are kept of the tail of one stream of a running try."""

STDOUT, STDERR = 1, 2

HOLD_TIME = 1.0
"""Seconds without a write after which bytes that may be the beginning of a secret are released."""


class LiveOutput:
    """Stores the tails of both streams; thread-safe.

    With a scrubber, secrets are replaced in what is written. Offsets count what is released.
    """

    __slots__ = ("_lock", "_scrubbed", "_tails", "_totals", "_written_at")

    def __init__(self, scrubber: Scrubber | None = None) -> None:
        self._scrubbed = (
            {STDOUT: scrubber.stream(), STDERR: scrubber.stream()} if scrubber is not None else None
        )
        self._written_at = 0.0
        self._lock = threading.Lock()
        self._tails = {STDOUT: bytearray(), STDERR: bytearray()}
        self._totals = {STDOUT: 0, STDERR: 0}

    def write(self, stream: int, data: bytes) -> None:
        """Append the next bytes of a stream."""
        with self._lock:
            if self._scrubbed is not None:
                self._written_at = time.monotonic()
                data = self._scrubbed[stream].write(data)
            self._append(stream, data)

    def after(self, stream: int, offset: int) -> tuple[int, bytes]:
        """Return the bytes of a stream after an offset, preceded by the offset of the first one.

        The returned offset is larger than `offset` if bytes in between are no longer kept.
        """
        with self._lock:
            if self._scrubbed is not None and time.monotonic() - self._written_at >= HOLD_TIME:
                self._append(stream, self._scrubbed[stream].flush())
            tail, total = self._tails[stream], self._totals[stream]
            kept = max(0, min(len(tail), total - offset))
            return total - kept, bytes(tail[len(tail) - kept :])

    def _append(self, stream: int, data: bytes) -> None:
        tail = self._tails[stream]
        tail += data[-TAIL_LIMIT:]
        del tail[:-TAIL_LIMIT]
        self._totals[stream] += len(data)
