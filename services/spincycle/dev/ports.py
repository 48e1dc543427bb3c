"""Loopback ports."""

from __future__ import annotations

import secrets
import socket

_PORTS = range(20_000, 32_000)
"""Below those that the system gives to clients, of whom one could be given ours."""


def free_port() -> int:
    """A loopback port that nobody listens on now, another one at each call.

    A port is free until somebody listens, and two who are to listen must not be given the same
    one, by whatever processes. So a Unix socket without a file marks a port as given until the
    process that asked ends.

    Raises:
        OSError: none was found.
    """
    for _ in range(100):
        port = secrets.choice(_PORTS)
        if is_free(port) and _take(port):
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


def _take(port: int) -> bool:
    """Whether nobody else was given the port; then nobody else will be."""
    mark = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        mark.bind(f"\0spincycle-port-{port}")
    except OSError:
        mark.close()
        return False
    mark.detach()  # Open until this process ends.
    return True
