"""Who watches gRPC's sockets: the thread that waits for what has happened, and no others.

gRPC's event engine has threads of its own for that, in Python for a short time only. They hand a
message on three times before the event loop hears of it. With these two experiments off, the one
thread that gRPC has for an event loop watches the sockets itself, as it always did before, and a
message over a stream takes half the CPU.

gRPC looks when it is imported; so each service's package imports this module first.
"""

from __future__ import annotations

import os

VARIABLE = "GRPC_EXPERIMENTS"
EXPERIMENTS = "-event_engine_client,-event_engine_listener"

os.environ.setdefault(VARIABLE, EXPERIMENTS)


def keep_from_children() -> None:
    """Let programs that this process starts have it as they like, once gRPC has looked."""
    if os.environ.get(VARIABLE) == EXPERIMENTS:
        del os.environ[VARIABLE]
