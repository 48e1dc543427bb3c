"""Why a stack does not start."""

from __future__ import annotations

from pathlib import Path


class StackError(Exception):
    """The stack cannot be started; the message says why and what to do."""


class AlreadyRunning(StackError):
    """Another stack is using the directory.

    Attributes:
        note: what it says of itself: its pid, since when, and the address of each service;
            empty if it has only just begun to start.
    """

    def __init__(self, home: Path, note: dict[str, str]) -> None:
        self.home = home
        self.note = note
        super().__init__(f"another stack is using {home}")
