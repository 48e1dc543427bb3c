"""The model's facts about one job, and the error of a violated rule."""

from __future__ import annotations

from dataclasses import dataclass

from spincycle.model.state import State


class NotAllowed(AssertionError):
    """The history violates a rule."""


@dataclass(slots=True)
class Fact:
    """State of one job within the current try of its sequence."""

    state: State = State.PENDING
    fails: int = 0
    position: int = 0
    started: bool = False
