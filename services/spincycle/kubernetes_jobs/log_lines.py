"""A container's log out of streams that may break: every line once, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_WAIT = 64 * 1024
"""Bytes of a line without an end after which what there is of it is handed on."""

_SECOND = len("2026-11-25T22:00:00")


class LogLines:
    """Takes streams of lines that begin with their time; hands the texts to `sink`.

    A stream can only be asked for again from a whole second on, so the first lines of it were
    seen before. They come in the order in which they came the first time: as many as were seen
    of that second are left out, unless the log was cut meanwhile, which newer times tell.
    """

    def __init__(self, sink: Callable[[bytes], None]) -> None:
        self._sink = sink
        self._buffer = bytearray()
        self._newest = b""
        self._second = b""
        self._zone = b"Z"
        self._seen = 0
        self._skip = 0
        self._inside = False
        self._skipping = False
        self._counted = False
        self._time = b""
        self._handed_on = 0
        self._broken_off = (b"", 0)

    @property
    def since(self) -> str:
        """From when on the next stream is to be asked for; empty: from the beginning."""
        return (self._second + self._zone).decode() if self._second else ""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of a stream."""
        self._buffer += chunk
        start = 0
        while (end := self._buffer.find(b"\n", start)) >= 0:
            self._line(bytes(self._buffer[start : end + 1]))
            start = end + 1
        del self._buffer[:start]
        if len(self._buffer) > LONGEST_WAIT:
            self._part(bytes(self._buffer))
            self._buffer.clear()

    def cut(self) -> None:
        """The stream broke. What there is of the last line will come again."""
        self._buffer.clear()
        if self._inside and not self._skipping:
            self._broken_off = (self._time, max(self._handed_on, self._known))
            self._seen -= self._counted
        self._inside = False
        self._skip = self._seen

    def finish(self) -> None:
        """The log has ended, maybe within a line."""
        if self._buffer:
            self._part(bytes(self._buffer))
            self._buffer.clear()

    def _line(self, line: bytes) -> None:
        self._part(line)
        self._inside = False
        if not self._skipping:
            self._broken_off = (b"", 0)

    def _part(self, part: bytes) -> None:
        if not self._inside:
            time, _, part = part.partition(b" ")
            self._begin(time)
        if self._skipping:
            return
        fresh = part[max(0, self._known - self._handed_on) :]
        self._handed_on += len(part)
        if fresh:
            self._sink(fresh)

    def _begin(self, time: bytes) -> None:
        self._inside = True
        self._time = time
        self._handed_on = 0
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
    def _known(self) -> int:
        """Bytes of the present line that were handed on before its stream broke."""
        time, known = self._broken_off
        return known if time == self._time else 0


def _without_zone(time: bytes) -> bytes:
    """The time with its fraction, without Z or +hh:mm, which is the same in all of a log."""
    end = _SECOND
    while end < len(time) and time[end : end + 1] in b".0123456789":
        end += 1
    return time[:end]
