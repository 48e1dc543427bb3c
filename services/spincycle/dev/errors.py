"""Errors at the start of a stack."""

from __future__ import annotations

from pathlib import Path


class StackError(Exception):
    """The stack cannot start; the message says why and what to do."""


class AlreadyRunning(StackError):
    """Another stack is using the directory.

    Attributes:
        note: pid, start time and service addresses of the other stack; empty if it is still
            starting.
    """

    def __init__(self, home: Path, note: dict[str, str]) -> None:
        self.home = home
        self.note = note
        super().__init__(f"another stack is using {home}")
