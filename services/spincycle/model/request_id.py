"""Request ids: 20 characters, globally unique and sortable by time."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LENGTH = 20

_ALPHABET = "0123456789abcdefghijklmnopqrstuv"
_COUNTER = 1 << 24


class RequestIds:
    """Generates ids of 12 bytes: seconds, 5 random bytes per process, and a counter.

    Ids of one process sort in the order of generation, even if its clock is set back; ids of
    several processes sort by the second. Must not be used in a forked child.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._process = os.urandom(5)
        self._seconds = 0
        # Start in the lower half, so that the counter does not wrap within a second.
        self._counter = int.from_bytes(os.urandom(3), "big") >> 1

    def new(self) -> str:
        """Return a new id."""
        seconds = int(self._clock())
        self._seconds = max(self._seconds, seconds)
        self._counter += 1
        if self._counter == _COUNTER:
            self._counter = 0
            self._seconds += 1
        number = self._seconds.to_bytes(4, "big") + self._process + self._counter.to_bytes(3, "big")
        bits = int.from_bytes(number, "big") << 4
        return "".join(_ALPHABET[bits >> shift & 31] for shift in range(95, -1, -5))


def is_request_id(text: str) -> bool:
    """Return whether a text has the form of a request id."""
    return len(text) == LENGTH and all(character in _ALPHABET for character in text)
