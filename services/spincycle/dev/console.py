"""The terminal output of a stack."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Callable
from typing import TextIO

import click

_COLOURS = {
    "spincycle": "bright_white",
    "gateway": "cyan",
    "request-manager": "green",
    "job-runner": "yellow",
    "job-log": "magenta",
    "postgresql": "blue",
}
_WIDTH = max(map(len, _COLOURS))
_CONTROL = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


class Console:
    """Writes lines, prefixed with and coloured by their service.

    Output to a closed terminal is discarded.
    """

    def __init__(self, stream: TextIO = sys.stdout) -> None:
        self._stream = stream
        self._is_closed = False
        self._on_closed: Callable[[], None] | None = None
        self.colour = stream.isatty() and not os.environ.get("NO_COLOR")

    def on_closed(self, callback: Callable[[], None]) -> None:
        """Set a callback that is called once when the terminal is found closed."""
        self._on_closed = callback

    def write_line(self, name: str, line: str) -> None:
        """Write a line of a service."""
        colour = _COLOURS.get(re.sub(r"-\d+$", "", name), "white")
        mark = self.style(f"{name:<{_WIDTH}} │", fg=colour)
        self.write(f"{mark} {_CONTROL.sub('', line)}")

    def write(self, text: str = "") -> None:
        """Write text of the stack itself."""
        if self._is_closed:
            return
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._is_closed = True
            self._discard_buffer()
            if self._on_closed is not None:
                self._on_closed()

    def _discard_buffer(self) -> None:
        """Redirect the buffer to /dev/null; otherwise Python fails to flush it at exit."""
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def style(self, text: str, *, fg: str | None = None, bold: bool | None = None) -> str:
        """Return the text in colour if the terminal supports it."""
        return click.style(text, fg=fg, bold=bold) if self.colour else text
