"""Selects how gRPC polls its sockets: in its completion queue thread, not in event engine threads.

gRPC's event engine, new in Python, polls in threads of its own, and a message passes three threads
before it reaches the event loop. With these two experiments off, the completion queue thread polls
the sockets itself, as in earlier versions, and a message on a stream takes half the CPU time.

gRPC reads the variable when it is imported; each service's package imports this module first.
"""

from __future__ import annotations

import os

VARIABLE = "GRPC_EXPERIMENTS"
EXPERIMENTS = "-event_engine_client,-event_engine_listener"

os.environ.setdefault(VARIABLE, EXPERIMENTS)


def unset_for_children() -> None:
    """Remove the variable after gRPC has read it, so that child processes do not inherit it."""
    if os.environ.get(VARIABLE) == EXPERIMENTS:
        del os.environ[VARIABLE]
