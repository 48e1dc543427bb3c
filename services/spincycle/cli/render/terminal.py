"""The standard streams of the command, and the capabilities of its terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from typing import TextIO

_STYLES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "cyan": "36",
}


class Terminal:
    """Writes to the standard streams and reports what the terminal supports."""

    def __init__(
        self,
        out: TextIO | None = None,
        err: TextIO | None = None,
        stdin: TextIO | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.out = out or sys.stdout
        self.err = err or sys.stderr
        self.stdin = stdin or sys.stdin
        self._environment = os.environ if environment is None else environment

    @property
    def interactive(self) -> bool:
        """Whether spinc can prompt: input and output are a terminal."""
        return self.stdin.isatty() and self.out.isatty()

    @property
    def is_screen(self) -> bool:
        """Whether the output is a terminal."""
        return self.out.isatty()

    @property
    def is_live(self) -> bool:
        """Whether the output is a terminal on which lines can be repainted."""
        return self.is_screen and self._environment.get("TERM", "") not in {"", "dumb"}

    @property
    def colour(self) -> bool:
        """Whether the output is coloured: on a terminal, unless NO_COLOR is set."""
        return self.is_live and not self._environment.get("NO_COLOR")

    @property
    def unicode(self) -> bool:
        """Whether the output is encoded as Unicode."""
        return "utf" in (self.out.encoding or "").lower()

    @property
    def columns(self) -> int:
        """Width of the terminal in columns."""
        return max(_size().columns, 1)

    @property
    def rows(self) -> int:
        """Height of the terminal in lines."""
        return max(_size().lines, 1)

    @property
    def table_width(self) -> int | None:
        """Width that tables must fit; None if the output is not a terminal."""
        return self.columns if self.is_screen else None

    def line(self, text: str = "") -> None:
        """Write one line."""
        self.out.write(text + "\n")

    def lines(self, lines: Iterable[str]) -> None:
        """Write lines."""
        self.out.writelines(line + "\n" for line in lines)

    def complain(self, text: str) -> None:
        """Write one line to standard error."""
        self.err.write(text + "\n")

    def styled(self, text: str, style: str) -> str:
        """Return `text` in a style: names of colours and weights, separated by blanks."""
        if not style or not self.colour:
            return text
        codes = ";".join(_STYLES[name] for name in style.split())
        return f"\x1b[{codes}m{text}\x1b[0m"


def _size() -> os.terminal_size:
    # Imported late: only output to a terminal needs it.
    from shutil import get_terminal_size

    return get_terminal_size()
