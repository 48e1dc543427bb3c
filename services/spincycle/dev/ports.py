"""Loopback ports."""

from __future__ import annotations

import secrets
import socket

_PORTS = range(20_000, 32_000)
"""Below those that the system gives to clients, of whom one could be given ours."""


def free_port() -> int:
    """A loopback port that nobody listens on now.

    Raises:
        OSError: none was found.
    """
    for _ in range(100):
        port = secrets.choice(_PORTS)
        if is_free(port):
            return port
    raise OSError("no free loopback port found")


def is_free(port: int) -> bool:
    """Whether one could listen on a loopback port."""
    with socket.socket() as attempt:
        attempt.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            attempt.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
