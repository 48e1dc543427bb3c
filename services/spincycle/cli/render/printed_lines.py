"""What tries print as lines, each with the try before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spincycle.cli.render.text import harmless

if TYPE_CHECKING:
    from spincycle.cli.render.printed import JobOutput
    from spincycle.cli.render.terminal import Terminal

_LONGEST = 8192
"""Characters after which a line that has not ended is printed all the same."""

_STDERR = 2


@dataclass(slots=True)
class _Open:
    """A stream of a try: who prints, where it is, and its line that has not ended."""

    prefix: str
    end: int = 0
    text: str = ""


class PrintedLines:
    """Puts pieces together to lines.

    `named` answers what stands before the lines of a piece's try. A line of standard output
    has a bar after it, one of standard error an exclamation mark.
    """

    def __init__(self, named: Callable[[JobOutput], str], terminal: Terminal) -> None:
        self._named = named
        self._terminal = terminal
        self._open: dict[tuple[str, int], dict[int, _Open]] = {}

    def add(self, piece: JobOutput) -> list[str]:
        """The lines that the piece ends, and a mark before it if something was missed."""
        streams = self._open.setdefault((piece.job_id, piece.try_number), {})
        stream = streams.get(piece.stream)
        if stream is None:
            stream = streams[piece.stream] = _Open(self._prefix(piece))
        lines: list[str] = []
        if piece.offset > stream.end:
            lines += self._left(stream)
            missed = piece.offset - stream.end
            lines.append(f"{stream.prefix}[... {missed} bytes missed ...]")
        stream.end = piece.offset + len(piece.data)
        *whole, stream.text = (stream.text + piece.data.decode(errors="replace")).split("\n")
        lines += [self._line(stream, text) for text in whole]
        if len(stream.text) > _LONGEST:
            lines += self._left(stream)
        return lines

    def end(self, job_id: str, try_: int) -> tuple[list[str], bool]:
        """Lines that a try has begun and not ended, and whether any were printed of it."""
        streams = self._open.pop((job_id, try_), {})
        return [line for one in streams.values() for line in self._left(one)], bool(streams)

    def end_all(self) -> list[str]:
        """Lines that any try has begun and not ended."""
        return [line for attempt in list(self._open) for line in self.end(*attempt)[0]]

    def _prefix(self, piece: JobOutput) -> str:
        is_error = piece.stream == _STDERR
        head = f"{self._named(piece)} {'!' if is_error else '|'}"
        return self._terminal.styled(head, "yellow" if is_error else "cyan") + " "

    def _left(self, stream: _Open) -> list[str]:
        text, stream.text = stream.text, ""
        return [self._line(stream, text)] if text else []

    def _line(self, stream: _Open, text: str) -> str:
        if self._terminal.is_screen:
            # Of what was written over itself, the last is left, as a terminal would show it.
            text = harmless(text.rstrip("\r").rpartition("\r")[2])
        return stream.prefix + text
