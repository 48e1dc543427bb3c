"""States, and the one table of which may follow which.

The code, the CHECK constraint of the database and the diagram in the docs all come
from `TRANSITIONS`.
"""

from __future__ import annotations

from enum import IntEnum


class State(IntEnum):
    """State of a request, a job chain, a job or a try; the numbers are stored and sent."""

    UNKNOWN = 0
    PENDING = 1
    RUNNING = 2
    COMPLETE = 3
    FAIL = 4
    RESERVED = 5
    STOPPED = 6
    SUSPENDED = 7


TRANSITIONS: dict[State, frozenset[State]] = {
    State.PENDING: frozenset({State.RUNNING, State.FAIL, State.STOPPED, State.SUSPENDED}),
    State.RUNNING: frozenset({State.COMPLETE, State.FAIL, State.STOPPED, State.SUSPENDED}),
    State.SUSPENDED: frozenset({State.RUNNING, State.FAIL, State.STOPPED}),
    State.COMPLETE: frozenset(),
    State.FAIL: frozenset(),
    State.STOPPED: frozenset(),
}
"""What a request may become, by what it is."""

FINAL = frozenset(state for state, following in TRANSITIONS.items() if not following)
"""States that a request never leaves."""

LIVE = frozenset(TRANSITIONS) - FINAL
"""States that a request is in until it has ended."""


def may_become(state: State) -> list[State]:
    """States from which a request may move to `state`, by number."""
    return sorted(source for source, following in TRANSITIONS.items() if state in following)


def diagram() -> str:
    """The table as a Mermaid state diagram, as docs/explanation/semantics.md shows it."""
    lines = ["stateDiagram-v2", "    [*] --> PENDING"]
    for state, following in TRANSITIONS.items():
        lines += [f"    {state.name} --> {after.name}" for after in sorted(following)]
    lines += [f"    {state.name} --> [*]" for state in sorted(FINAL)]
    return "\n".join(lines)
