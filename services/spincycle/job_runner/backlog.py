"""Work queue of one chain: events to handle, commands to execute, calls that are due."""

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
"""Events and commands that a chain handles per turn of the event loop."""


class Backlog:
    """Orders the work of one chain: due calls first, then an event's commands, then the next event.

    An idle chain has no queues, which would take 0.7 kB per chain: a runner may hold many
    thousands of idle chains.
    """

    __slots__ = ("_queues",)

    def __init__(self) -> None:
        self._queues: _Queues | None = None

    def __bool__(self) -> bool:
        """Return whether work is left."""
        return self._queues is not None and any(self._queues)

    @property
    def due(self) -> deque[Callable[[], None]]:
        """Calls that are due."""
        return self._open_queues().due

    @property
    def commands(self) -> deque[Command]:
        """Commands of handled events."""
        return self._open_queues().commands

    @property
    def events(self) -> deque[Event]:
        """Events to handle."""
        return self._open_queues().events

    def clear(self) -> None:
        """Drop all work."""
        for queue in self._queues or ():
            queue.clear()

    def work(self, execute: Callable[[Command], None], clock: Callable[[], int]) -> None:
        """Do the work of one turn of the event loop."""
        due, commands, events = self._open_queues()
        for _ in range(PER_TURN):
            if due:
                due.popleft()()
            elif commands:
                execute(commands.popleft())
            elif events:
                commands.extend(events.popleft()(clock()))
            else:
                self._queues = None
                return

    def _open_queues(self) -> _Queues:
        if self._queues is None:
            self._queues = _Queues(deque(), deque(), deque())
        return self._queues


class _Queues(NamedTuple):
    due: deque[Callable[[], None]]
    commands: deque[Command]
    events: deque[Event]


def call_in_turns(items: deque[Item], call: Callable[[Item], None]) -> None:
    """Call `call` with each item, PER_TURN of them per turn of the event loop, starting now."""
    for _ in range(min(PER_TURN, len(items))):
        call(items.popleft())
    if items:
        asyncio.get_running_loop().call_soon(call_in_turns, items, call)
