"""What one chain has still to do: events to handle, commands to carry out, calls that are due."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from spincycle.chain.commands import Command

    Event: TypeAlias = Callable[[int], list[Command]]

Item = TypeVar("Item")

PER_TURN = 500
"""Events and commands that a chain handles before the event loop gets to do something else."""


class Backlog:
    """Keeps the order: calls that are due, then the commands of an event, then the next event."""

    __slots__ = ("commands", "due", "events")

    def __init__(self) -> None:
        self.due: deque[Callable[[], None]] = deque()
        self.commands: deque[Command] = deque()
        self.events: deque[Event] = deque()

    def __bool__(self) -> bool:
        """Whether anything is left."""
        return bool(self.due or self.commands or self.events)

    def clear(self) -> None:
        """Drop everything."""
        self.due.clear()
        self.commands.clear()
        self.events.clear()

    def work(self, carry_out: Callable[[Command], None], clock: Callable[[], int]) -> None:
        """Do as much as fits one turn of the event loop."""
        due, commands, events = self.due, self.commands, self.events
        for _ in range(PER_TURN):
            if due:
                due.popleft()()
            elif commands:
                carry_out(commands.popleft())
            elif events:
                commands.extend(events.popleft()(clock()))
            else:
                return


def in_portions(items: deque[Item], act: Callable[[Item], None]) -> None:
    """Act on each item, on so many in each turn of the event loop; the first ones at once."""
    for _ in range(min(PER_TURN, len(items))):
        act(items.popleft())
    if items:
        asyncio.get_running_loop().call_soon(in_portions, items, act)
