"""Job output as lines, each prefixed with its try."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spincycle.cli.render.text import printable

if TYPE_CHECKING:
    from spincycle.cli.render.terminal import Terminal
    from spincycle.cli.transport.output_deduplicator import JobOutput

_LONGEST = 8192
"""Characters after which an incomplete line is printed as it is."""

_STDERR = 2
_PREFIX_SHARE = 3
_SHORTEST_PREFIX = 24
"""Columns of a prefix on a terminal: a third of it, but at least these."""


def prefix_width(terminal: Terminal) -> int | None:
    """Return the columns for a job in a prefix; None if the output is not a terminal."""
    width = terminal.table_width
    return None if width is None else max(width // _PREFIX_SHARE, _SHORTEST_PREFIX)


@dataclass(slots=True)
class _PartialLine:
    """The incomplete last line of one stream of a try.

    Attributes:
        prefix: printed before each line.
        end: offset of the next byte expected.
        text: characters since the last line feed.
    """

    prefix: str
    end: int = 0
    text: str = ""


class OutputLines:
    """Assembles pieces of output into lines.

    Args:
        name_of: returns the name of a piece's try, for the prefix. It is followed by `|` for
            standard output and by `!` for standard error.
        terminal: where the lines will be printed.
    """

    def __init__(self, name_of: Callable[[JobOutput], str], terminal: Terminal) -> None:
        self._name_of = name_of
        self._terminal = terminal
        self._open: dict[tuple[str, int], dict[int, _PartialLine]] = {}

    def add(self, piece: JobOutput) -> list[str]:
        """Return the lines completed by the piece, after a mark if bytes are missing before it."""
        streams = self._open.setdefault((piece.job_id, piece.try_number), {})
        stream = streams.get(piece.stream)
        if stream is None:
            stream = streams[piece.stream] = _PartialLine(self._prefix(piece))
        lines: list[str] = []
        if piece.offset > stream.end:
            lines += self._flush(stream)
            missed = piece.offset - stream.end
            lines.append(f"{stream.prefix}[... {missed} bytes missed ...]")
        stream.end = piece.offset + len(piece.data)
        *whole, stream.text = (stream.text + piece.data.decode(errors="replace")).split("\n")
        lines += [self._line(stream, text) for text in whole]
        if len(stream.text) > _LONGEST:
            lines += self._flush(stream)
        return lines

    def end(self, job_id: str, try_: int) -> tuple[list[str], bool]:
        """Return the incomplete lines of a try, and whether it had any output."""
        streams = self._open.pop((job_id, try_), {})
        lines = [line for stream in streams.values() for line in self._flush(stream)]
        return lines, bool(streams)

    def end_all(self) -> list[str]:
        """Return the incomplete lines of all tries."""
        return [line for attempt in list(self._open) for line in self.end(*attempt)[0]]

    def _prefix(self, piece: JobOutput) -> str:
        is_error = piece.stream == _STDERR
        head = f"{self._name_of(piece)} {'!' if is_error else '|'}"
        return self._terminal.styled(head, "yellow" if is_error else "cyan") + " "

    def _flush(self, stream: _PartialLine) -> list[str]:
        text, stream.text = stream.text, ""
        return [self._line(stream, text)] if text else []

    def _line(self, stream: _PartialLine, text: str) -> str:
        if self._terminal.is_screen:
            # Of text overwritten by carriage returns a terminal shows the last.
            text = printable(text.rstrip("\r").rpartition("\r")[2])
        return stream.prefix + text
