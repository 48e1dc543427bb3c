"""Addresses of gRPC services: host:port, or unix:/path of a socket on this machine."""

from __future__ import annotations

from spincycle.config import ConfigError

_UNIX = "unix:"


def check_listen(address: str, setting: str) -> None:
    """Check that a process can be asked to listen on an address.

    Raises:
        ConfigError: it is neither host:port nor unix:/path; the setting is named.
    """
    host, _, port = address.rpartition(":")
    if not (is_unix(address) and socket_path(address)) and not (host and port.isdecimal()):
        raise ConfigError(f'{setting}: "{address}" must be host:port or unix:/path')


def is_unix(address: str) -> bool:
    """Whether the address, of a service or of a caller, is a Unix socket."""
    return address.startswith((_UNIX, "unix-abstract:"))


def socket_path(address: str) -> str:
    """File system path of a unix: address."""
    return address.removeprefix(_UNIX).removeprefix("//")
