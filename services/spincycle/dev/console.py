"""What a stack says on the terminal, or in the file or pipe that stands for it."""

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
    """Writes lines, marked and coloured by the service that they come from.

    A terminal that is gone is no reason to fail; what is said to it is lost.
    """

    def __init__(self, stream: TextIO = sys.stdout) -> None:
        self._stream = stream
        self._is_gone = False
        self._gone: Callable[[], None] | None = None
        self.colour = stream.isatty() and not os.environ.get("NO_COLOR")

    def on_gone(self, callback: Callable[[], None]) -> None:
        """Have `callback` called, once, when the terminal turns out to be gone."""
        self._gone = callback

    def show(self, name: str, line: str) -> None:
        """Write a line of a service."""
        colour = _COLOURS.get(re.sub(r"-\d+$", "", name), "white")
        mark = self.style(f"{name:<{_WIDTH}} │", fg=colour)
        self.say(f"{mark} {_CONTROL.sub('', line)}")

    def say(self, text: str = "") -> None:
        """Write a text of the stack itself."""
        if self._is_gone:
            return
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            self._is_gone = True
            self._silence()
            if self._gone is not None:
                self._gone()

    def _silence(self) -> None:
        """Let what is still buffered go nowhere, or Python would fail over it at its end."""
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def style(self, text: str, *, fg: str | None = None, bold: bool | None = None) -> str:
        """Colour a text if this is a terminal that shows colours."""
        return click.style(text, fg=fg, bold=bold) if self.colour else text
