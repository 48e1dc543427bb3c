"""Loopback ports."""

from __future__ import annotations

import secrets
import socket

_PORTS = range(20_000, 32_000)
"""Below the ephemeral range, from which the system could assign the port to a client."""


def free_port() -> int:
    """Allocate a free loopback port, a different one at each call.

    A port stays free until a process listens on it, so that two processes could choose the same
    one. An abstract Unix socket per port marks it as allocated until this process ends.

    Raises:
        OSError: no free port was found.
    """
    for _ in range(100):
        port = secrets.choice(_PORTS)
        if is_free(port) and _allocate(port):
            return port
    raise OSError("no free loopback port found")


def is_free(port: int) -> bool:
    """Return whether no process listens on a loopback port."""
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _allocate(port: int) -> bool:
    """Mark the port as allocated; return False if another process has."""
    mark = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        mark.bind(f"\0spincycle-port-{port}")
    except OSError:
        mark.close()
        return False
    mark.detach()  # Stays open until this process ends.
    return True
