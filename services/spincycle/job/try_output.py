"""Output of one try: head and tail of each stream, in bounded space and without secrets."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from spincycle.job.bounded_output import OUTPUT_LIMIT, BoundedOutput

if TYPE_CHECKING:
    from collections.abc import Callable

    from spincycle.job.job import JobId
    from spincycle.model.scrubber import Scrubber

TAIL_LIMIT = 64 * 1024
"""Bytes of one stream that are returned at once while the try runs."""

STDOUT, STDERR = 1, 2

HOLD_TIME = 1.0
"""Seconds without a write after which bytes that may be the beginning of a secret are released."""

# Reentrant, as all locks here: a finalizer that the collector calls during a write may print, too.
_opening = threading.RLock()


class TryOutput:
    """Output of one try, live and as it is stored; thread-safe.

    The first write allocates what is needed: most tries print nothing. `on_discard` is called with
    `owner`, once, on the writing thread, if something is written after `close`. With a scrubber,
    secrets are replaced in what is written; offsets count what remains.
    """

    __slots__ = ("_closed", "_kept", "_limit", "_on_discard", "_owner", "_scrubber")

    def __init__(
        self,
        limit: int = OUTPUT_LIMIT,
        owner: JobId | None = None,
        on_discard: Callable[[JobId], None] | None = None,
        scrubber: Scrubber | None = None,
    ) -> None:
        self._limit = limit
        self._owner = owner
        self._on_discard = on_discard
        self._scrubber = scrubber
        self._kept: _KeptOutput | None = None
        self._closed = False

    @property
    def used(self) -> bool:
        """Whether anything was printed."""
        return self._kept is not None

    def write(self, stream: int, data: bytes) -> None:
        """Append the next bytes of a stream. Everything that a try prints passes through here."""
        if not data:
            return
        kept = self._kept or self._open()
        if kept is None or not kept.append(stream, data):
            self._discard()

    def write_lines(self, stream: int, text: str) -> None:
        """Append a text that starts on a line of its own."""
        in_line = self._kept is not None and self._kept.in_line(stream)
        self.write(stream, ("\n" * in_line + text).encode(errors="replace"))

    def after(self, stream: int, offset: int) -> tuple[int, bytes]:
        """Return the bytes of a stream after an offset, preceded by the offset of the first one.

        The returned offset is higher than `offset` if bytes in between are not returned: there
        are more than TAIL_LIMIT, or they are no longer kept.
        """
        return (0, b"") if self._kept is None else self._kept.after(stream, offset)

    def text(self, stream: int) -> str:
        """Return what is kept of a stream."""
        return "" if self._kept is None else self._kept.text(stream)

    def close(self) -> tuple[str, str]:
        """Return what is kept of standard output and standard error; discard what follows."""
        with _opening:
            self._closed = True
            kept, self._kept = self._kept, None
        return ("", "") if kept is None else kept.close()

    def _open(self) -> _KeptOutput | None:
        with _opening:
            if self._kept is None and not self._closed:
                self._kept = _KeptOutput(self._limit, self._scrubber)
            return self._kept

    def _discard(self) -> None:
        on_discard, self._on_discard = self._on_discard, None
        if on_discard is not None and self._owner is not None:
            on_discard(self._owner)


class _KeptOutput:
    """Head and tail of both streams."""

    __slots__ = ("_closed", "_lock", "_scrubbed", "_streams", "_written_at")

    def __init__(self, limit: int, scrubber: Scrubber | None) -> None:
        self._lock = threading.RLock()
        self._streams = {STDOUT: BoundedOutput(limit), STDERR: BoundedOutput(limit)}
        self._scrubbed = (
            None if scrubber is None else {stream: scrubber.stream() for stream in self._streams}
        )
        self._written_at = 0.0
        self._closed = False

    def append(self, stream: int, data: bytes) -> bool:
        """Append bytes; return False if it is closed."""
        with self._lock:
            if self._closed:
                return False
            if self._scrubbed is not None:
                self._written_at = time.monotonic()
                data = self._scrubbed[stream].write(data)
            self._streams[stream].write(data)
            return True

    def in_line(self, stream: int) -> bool:
        with self._lock:
            self._release(stream)
            return self._streams[stream].in_line

    def after(self, stream: int, offset: int) -> tuple[int, bytes]:
        with self._lock:
            if time.monotonic() - self._written_at >= HOLD_TIME:
                self._release(stream)
            return self._streams[stream].after(offset, TAIL_LIMIT)

    def text(self, stream: int) -> str:
        with self._lock:
            self._release(stream)
            return self._streams[stream].text()

    def close(self) -> tuple[str, str]:
        with self._lock:
            self._closed = True
            return self.text(STDOUT), self.text(STDERR)

    def _release(self, stream: int) -> None:
        """Keep the bytes that are held back since they may be the beginning of a secret."""
        if self._scrubbed is not None:
            self._streams[stream].write(self._scrubbed[stream].flush())
