"""A block of lines at the bottom of a terminal, repainted in place."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from spincycle.cli.render.terminal import Terminal
from spincycle.cli.render.tree import Line

_HIDE, _SHOW = "\x1b[?25l", "\x1b[?25h"
_CLEAR_SCREEN, _CLEAR_LINE, _CLEAR_BELOW = "\x1b[H\x1b[2J", "\x1b[K", "\x1b[J"


class Painter:
    """Repaints the last lines of the terminal.

    A context manager: the cursor is hidden inside and restored on exit.
    """

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._painted = 0
        self._size = (0, 0)

    def __enter__(self) -> Self:
        self._terminal.out.write(_HIDE)
        self._terminal.out.flush()
        return self

    def __exit__(self, *_: object) -> None:
        self._terminal.out.write(_SHOW)
        self._terminal.out.flush()

    def paint(self, lines: list[Line]) -> None:
        """Replace the painted lines."""
        out = [self._to_start()]
        for line in lines:
            styled = "".join(self._terminal.styled(text, style) for text, style in line)
            out.append(f"{styled}{_CLEAR_LINE}\n")
        out.append(_CLEAR_BELOW)
        self._painted = len(lines)
        self._write("".join(out))

    def print_above(self, lines: Iterable[str]) -> None:
        """Print permanent lines in place of the painted ones; call `paint` afterwards."""
        text = "".join(line + "\n" for line in lines)
        self._write(f"{self._to_start()}{_CLEAR_BELOW}{text}")
        self._painted = 0

    def _to_start(self) -> str:
        size = (self._terminal.columns, self._terminal.rows)
        changed = self._size not in {size, (0, 0)}
        self._size = size
        if changed:
            # A resized terminal wraps the lines differently, so their start is unknown.
            self._painted = 0
            return _CLEAR_SCREEN
        return f"\x1b[{self._painted}A\r" if self._painted else ""

    def _write(self, text: str) -> None:
        self._terminal.out.write(text)
        self._terminal.out.flush()
