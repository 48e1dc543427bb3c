"""Job ids: 4 characters, unique within one request."""

from __future__ import annotations

import random
import string

ALPHABET = string.ascii_letters + string.digits

# One for all requests: seeding another one takes longer than drawing the ids of a small request.
_DRAW = random.Random()  # noqa: S311 - an id is a name, not a secret


class IdsUsedUp(Exception):
    """There is no id left."""

    def __init__(self) -> None:
        super().__init__("unable to generate a UID")


class JobIds:
    """Draws each id of one length at most once."""

    def __init__(self, length: int = 4, draw: random.Random | None = None) -> None:
        self._length = length
        self._size = len(ALPHABET) ** length
        self._draw = draw or _DRAW
        self._used: set[int] = set()

    def new(self) -> str:
        """An id that was not drawn before.

        Raises:
            IdsUsedUp: all have been drawn.
        """
        if len(self._used) == self._size:
            raise IdsUsedUp
        number = int(self._draw.random() * self._size)
        while number in self._used:
            number = (number + 1) % self._size
        self._used.add(number)
        characters = []
        for _ in range(self._length):
            number, digit = divmod(number, len(ALPHABET))
            characters.append(ALPHABET[digit])
        return "".join(characters)
