"""Free ports for servers that tests start, outside the range of outgoing connections."""

from __future__ import annotations

import random
import socket


def free_port() -> int:
    """A port below 32768 on which nobody listens now."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
