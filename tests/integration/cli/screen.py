"""What stands on a terminal after all that was written to it; as much of one as spinc needs."""

from __future__ import annotations

import re

_SEQUENCE = re.compile(r"\x1b\[(\??[\d;]*)([A-Za-z])")


class Screen:
    """A terminal of so many columns that grows downwards for ever."""

    def __init__(self, columns: int) -> None:
        self._columns = columns
        self._lines: list[list[str]] = [[]]
        self._row = 0
        self._column = 0
        self.cursor_hidden = False
        self.coloured = False

    @property
    def text(self) -> str:
        lines = ["".join(line).rstrip() for line in self._lines]
        return "\n".join(lines).rstrip("\n") + "\n"

    def feed(self, written: str) -> None:
        place = 0
        while place < len(written):
            if match := _SEQUENCE.match(written, place):
                self._control(match[1], match[2])
                place = match.end()
                continue
            self._put(written[place])
            place += 1

    def _put(self, character: str) -> None:
        if character == "\r":
            self._column = 0
        elif character == "\n":
            self._row += 1
            if self._row == len(self._lines):
                self._lines.append([])
        elif character == "\b":
            self._column = max(self._column - 1, 0)
        elif character >= " ":
            if self._column >= self._columns:
                self._put("\r")
                self._put("\n")
            line = self._lines[self._row]
            line += [" "] * (self._column + 1 - len(line))
            line[self._column] = character
            self._column += 1

    def _control(self, number: str, letter: str) -> None:
        if letter == "A":
            self._row = max(self._row - int(number or 1), 0)
        elif letter == "K":
            del self._lines[self._row][self._column :]
        elif letter == "J" and number == "2":
            self._lines = [[] for _ in range(self._row + 1)]
        elif letter == "J":
            del self._lines[self._row][self._column :]
            del self._lines[self._row + 1 :]
        elif letter == "H":
            self._row = self._column = 0
        elif number == "?25":
            self.cursor_hidden = letter == "l"
        elif letter == "m":
            self.coloured = True
        elif number != "?2004":
            raise AssertionError(f"spinc has written ESC [ {number} {letter}")
