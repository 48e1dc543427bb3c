"""What one chain has still to do: events to handle, commands to carry out, calls that are due."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from spincycle.chain.commands import Command

    Event: TypeAlias = Callable[[int], list[Command]]

Item = TypeVar("Item")

PER_TURN = 500
"""Events and commands that a chain handles before the event loop gets to do something else."""


class Backlog:
    """Keeps the order: calls that are due, then the commands of an event, then the next event.

    An idle chain, of which there may be many thousands, has no queues: each takes 0.7 kB.
    """

    __slots__ = ("_queues",)

    def __init__(self) -> None:
        self._queues: _Queues | None = None

    def __bool__(self) -> bool:
        """Whether anything is left."""
        return self._queues is not None and any(self._queues)

    @property
    def due(self) -> deque[Callable[[], None]]:
        """Calls that are due."""
        return self._there().due

    @property
    def commands(self) -> deque[Command]:
        """Commands of events that were handled."""
        return self._there().commands

    @property
    def events(self) -> deque[Event]:
        """Events to be handled."""
        return self._there().events

    def clear(self) -> None:
        """Drop everything."""
        for queue in self._queues or ():
            queue.clear()

    def work(self, carry_out: Callable[[Command], None], clock: Callable[[], int]) -> None:
        """Do as much as fits one turn of the event loop."""
        due, commands, events = self._there()
        for _ in range(PER_TURN):
            if due:
                due.popleft()()
            elif commands:
                carry_out(commands.popleft())
            elif events:
                commands.extend(events.popleft()(clock()))
            else:
                self._queues = None
                return

    def _there(self) -> _Queues:
        if self._queues is None:
            self._queues = _Queues(deque(), deque(), deque())
        return self._queues


class _Queues(NamedTuple):
    due: deque[Callable[[], None]]
    commands: deque[Command]
    events: deque[Event]


def act_in_turns(items: deque[Item], act: Callable[[Item], None]) -> None:
    """Act on each item, on so many in each turn of the event loop; the first ones at once."""
    for _ in range(min(PER_TURN, len(items))):
        act(items.popleft())
    if items:
        asyncio.get_running_loop().call_soon(act_in_turns, items, act)
