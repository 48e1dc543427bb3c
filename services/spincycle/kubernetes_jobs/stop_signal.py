"""What a try that is under way is told."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass(slots=True)
class StopSignal:
    """To end early.

    Attributes:
        told: set when the try is to end.
        leave: the Kubernetes Job is left to the try that follows, instead of deleted.
    """

    told: asyncio.Event = field(default_factory=asyncio.Event)
    leave: bool = False
