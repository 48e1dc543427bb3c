"""Forwards desired states of requests to their runners."""

from __future__ import annotations

import structlog

from spincycle.errors import RunnerUnreachable
from spincycle.model.state import State
from spincycle.request_manager.runners.client import RunnerClient


async def forward(client: RunnerClient, desired: dict[str, State], reason: str = "") -> None:
    """Forward desired states, by request id, to the runner of the requests.

    They are stored: a runner that does not respond receives them with its next heartbeat.
    """
    try:
        stop = [id_ for id_, state in desired.items() if state is State.STOPPED]
        if stop:
            await client.stop(stop, reason)
        suspend = [id_ for id_, state in desired.items() if state is State.SUSPENDED]
        if suspend:
            await client.suspend(suspend, reason)
    except RunnerUnreachable as error:
        structlog.get_logger().warning("stop or suspend not forwarded", why=error.message)
