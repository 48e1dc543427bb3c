"""Addresses of gRPC services: host:port, or unix:/path of a socket on this machine."""

from __future__ import annotations

import re

_UNIX = "unix:"
_HOST_PORT = re.compile(
    r"(?P<host>\[[0-9A-Fa-f:.%a-z]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})", re.ASCII
)
_MAX_LENGTH = 256

WILDCARDS = frozenset({"0.0.0.0", "[::]"})  # noqa: S104 # recognised, not used
"""Hosts that a listener can bind but no client can connect to."""


def is_unix(address: str) -> bool:
    """Return whether gRPC treats the address of a service or a caller as a Unix socket.

    gRPC's scheme is case-insensitive.
    """
    return address.lower().startswith((_UNIX, "unix-abstract:"))


def socket_path(address: str) -> str:
    """Return the file system path of a unix: address."""
    return address.removeprefix(_UNIX).removeprefix("//")


def is_address(address: str) -> bool:
    """Return whether the address is host:port or unix:/path; gRPC's other schemes are not."""
    if len(address) > _MAX_LENGTH:
        return False
    if address.startswith(_UNIX):
        return socket_path(address).startswith("/")
    return host_of(address) != ""


def host_of(address: str) -> str:
    """Return the host of host:port; empty if the address does not have that form."""
    found = _HOST_PORT.fullmatch(address)
    return found["host"] if found and int(found["port"]) <= 65535 else ""
