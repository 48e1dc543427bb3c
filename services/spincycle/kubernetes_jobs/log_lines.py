"""Reassembles a container's log from interrupted streams: every line once, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_BUFFERED = 64 * 1024
"""Size in bytes from which an incomplete line is delivered in parts."""

_SECOND = len("2026-11-25T22:00:00")


class LogLines:
    """Parses streams of lines that start with a timestamp; passes the texts to `sink`.

    A stream can be resumed only from a whole second, so its first lines were already delivered.
    They arrive in the same order as before: as many lines as were delivered of that second are
    skipped, unless newer timestamps show that the log was truncated.
    """

    def __init__(self, sink: Callable[[bytes], None]) -> None:
        self._sink = sink
        self._buffer = bytearray()
        self._newest = b""
        self._second = b""
        self._zone = b"Z"
        self._seen = 0
        self._skip = 0
        self._in_line = False
        self._skipping = False
        self._counted = False
        self._time = b""
        self._delivered = 0
        self._interrupted = (b"", 0)

    @property
    def since(self) -> str:
        """Time from which to request the next stream; empty: from the beginning."""
        return (self._second + self._zone).decode() if self._second else ""

    def feed(self, chunk: bytes) -> None:
        """Process the next bytes of a stream."""
        self._buffer += chunk
        start = 0
        while (end := self._buffer.find(b"\n", start)) >= 0:
            self._line(bytes(self._buffer[start : end + 1]))
            start = end + 1
        del self._buffer[:start]
        if len(self._buffer) > MAX_BUFFERED:
            self._part(bytes(self._buffer))
            self._buffer.clear()

    def interrupt(self) -> None:
        """Handle a broken stream: the next stream repeats the incomplete last line."""
        self._buffer.clear()
        if self._in_line and not self._skipping:
            self._interrupted = (self._time, max(self._delivered, self._delivered_before))
            self._seen -= self._counted
        self._in_line = False
        self._skip = self._seen

    def finish(self) -> None:
        """Handle the end of the log, which may lack a final newline."""
        if self._buffer:
            self._part(bytes(self._buffer))
            self._buffer.clear()

    def _line(self, line: bytes) -> None:
        self._part(line)
        self._in_line = False
        if not self._skipping:
            self._interrupted = (b"", 0)

    def _part(self, part: bytes) -> None:
        if not self._in_line:
            time, _, part = part.partition(b" ")
            self._start_line(time)
        if self._skipping:
            return
        fresh = part[max(0, self._delivered_before - self._delivered) :]
        self._delivered += len(part)
        if fresh:
            self._sink(fresh)

    def _start_line(self, time: bytes) -> None:
        self._in_line = True
        self._time = time
        self._delivered = 0
        self._counted = False
        moment, second = _without_zone(time), time[:_SECOND]
        self._skipping = self._skip > 0 and moment <= self._newest
        if self._skipping:
            self._skip -= 1
            return
        self._newest = max(self._newest, moment)
        if second > self._second:
            self._second, self._zone = second, time[len(moment) :] or b"Z"
            self._seen = 0
        if second == self._second:
            self._seen += 1
            self._counted = True

    @property
    def _delivered_before(self) -> int:
        """Bytes of the current line that were delivered before its stream broke."""
        time, delivered = self._interrupted
        return delivered if time == self._time else 0


def _without_zone(time: bytes) -> bytes:
    """Return the time with its fraction but without the zone, which is constant within a log."""
    end = _SECOND
    while end < len(time) and time[end : end + 1] in b".0123456789":
        end += 1
    return time[:end]
