"""Job ids: 4 characters, unique within one request."""

from __future__ import annotations

import random
import string

ALPHABET = string.ascii_letters + string.digits

# Shared: seeding a generator takes longer than drawing the ids of a small request.
_DRAW = random.Random()  # noqa: S311 - an id is a name, not a secret


class IdsExhausted(Exception):
    """All ids are used."""

    def __init__(self) -> None:
        super().__init__("unable to generate a UID")


class JobIds:
    """Draws random ids of one length, each at most once."""

    def __init__(self, length: int = 4, draw: random.Random | None = None) -> None:
        self._length = length
        self._size = len(ALPHABET) ** length
        self._draw = draw or _DRAW
        self._used: set[int] = set()

    def new(self) -> str:
        """Return a new id.

        Raises:
            IdsExhausted: all ids have been drawn.
        """
        if len(self._used) == self._size:
            raise IdsExhausted
        number = int(self._draw.random() * self._size)
        while number in self._used:
            number = (number + 1) % self._size
        self._used.add(number)
        characters = []
        for _ in range(self._length):
            number, digit = divmod(number, len(ALPHABET))
            characters.append(ALPHABET[digit])
        return "".join(characters)
