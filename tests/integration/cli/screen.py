"""The screen of a terminal after all output written to it."""

from __future__ import annotations

import re

import pyte

_COLOUR = re.compile(r"\x1b\[[\d;]*m")
_PAST = 10_000


class Screen:
    """A terminal of given columns and lines, with the lines scrolled off it."""

    def __init__(self, columns: int, lines: int) -> None:
        self._screen = pyte.HistoryScreen(columns, lines, history=_PAST, ratio=1.0)
        self._stream = pyte.Stream(self._screen)
        self.coloured = False

    @property
    def text(self) -> str:
        """Lines scrolled off, then those on the screen, without trailing blanks."""
        columns = self._screen.columns
        # The cell after a wide character holds nothing.
        past = [
            "".join(line[column].data for column in range(columns))
            for line in self._screen.history.top
        ]
        lines = [line.rstrip() for line in [*past, *self._screen.display]]
        return "\n".join(lines).rstrip("\n") + "\n"

    @property
    def cursor_hidden(self) -> bool:
        return bool(self._screen.cursor.hidden)

    def feed(self, written: str) -> None:
        self.coloured = self.coloured or bool(_COLOUR.search(written))
        self._stream.feed(written)

    def resize(self, columns: int, lines: int) -> None:
        self._screen.resize(lines, columns)
