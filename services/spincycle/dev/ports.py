"""Loopback ports."""

from __future__ import annotations

import secrets
import socket

_PORTS = range(20_000, 32_000)
"""Below those that the system gives to clients, of whom one could be given ours."""

_given: set[int] = set()
"""A port is free until somebody listens; two who are to listen must not be given the same one."""


def free_port() -> int:
    """A loopback port that nobody listens on now, another one at each call.

    Raises:
        OSError: none was found.
    """
    for _ in range(100):
        port = secrets.choice(_PORTS)
        if port not in _given and is_free(port):
            _given.add(port)
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
