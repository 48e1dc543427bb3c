"""What the model knows of one job, and what it says when a rule is broken."""

from __future__ import annotations

from dataclasses import dataclass

from spincycle.model.state import State


class NotAllowed(AssertionError):
    """The history breaks a rule."""


@dataclass(slots=True)
class Fact:
    """What is true of one job within the current try of its sequence."""

    state: State = State.PENDING
    fails: int = 0
    position: int = 0
    begun: bool = False
