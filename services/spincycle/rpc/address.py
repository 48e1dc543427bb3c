"""Addresses of gRPC services: host:port, or unix:/path of a socket on this machine."""

from __future__ import annotations

import re

_UNIX = "unix:"
_HOST_PORT = re.compile(
    r"(?P<host>\[[0-9A-Fa-f:.%a-z]+\]|[A-Za-z0-9._-]+):(?P<port>[0-9]{1,5})", re.ASCII
)
_LONGEST = 256

WILDCARDS = frozenset({"0.0.0.0", "[::]"})  # noqa: S104 # recognised, not used
"""Hosts to listen on at which nobody can be called."""


def is_unix(address: str) -> bool:
    """Whether gRPC takes the address, of a service or of a caller, for a Unix socket.

    It reads the scheme in any case.
    """
    return address.lower().startswith((_UNIX, "unix-abstract:"))


def socket_path(address: str) -> str:
    """File system path of a unix: address."""
    return address.removeprefix(_UNIX).removeprefix("//")


def is_address(address: str) -> bool:
    """Whether it is host:port or unix:/path; whatever else gRPC may resolve is not."""
    if len(address) > _LONGEST:
        return False
    if address.startswith(_UNIX):
        return socket_path(address).startswith("/")
    return host_of(address) != ""


def host_of(address: str) -> str:
    """The host of host:port; empty if the address is not of that form."""
    found = _HOST_PORT.fullmatch(address)
    return found["host"] if found and int(found["port"]) <= 65535 else ""
