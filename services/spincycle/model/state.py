"""States, and the table of allowed transitions.

`TRANSITIONS` is the source of the code, the CHECK constraint of the database and the diagram in the
docs.
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
"""States that a request can enter, by its current state."""

FINAL = frozenset(state for state, following in TRANSITIONS.items() if not following)
"""States that a request never leaves."""

LIVE = frozenset(TRANSITIONS) - FINAL
"""States of a request that has not ended."""


def may_become(state: State) -> list[State]:
    """Return the states from which a request may move to `state`, by number."""
    return sorted(source for source, following in TRANSITIONS.items() if state in following)


def diagram() -> str:
    """Return the table as a Mermaid state diagram, for docs/explanation/semantics.md."""
    lines = ["stateDiagram-v2", "    [*] --> PENDING"]
    for state, following in TRANSITIONS.items():
        lines += [f"    {state.name} --> {after.name}" for after in sorted(following)]
    lines += [f"    {state.name} --> [*]" for state in sorted(FINAL)]
    return "\n".join(lines)
