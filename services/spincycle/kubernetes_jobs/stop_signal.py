"""Signal that stops a running try."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass(slots=True)
class StopSignal:
    """Requests that a try ends early.

    Attributes:
        requested: set when the try must end.
        hand_over: whether to leave the Kubernetes Job to the next try instead of deleting it.
    """

    requested: asyncio.Event = field(default_factory=asyncio.Event)
    hand_over: bool = False
