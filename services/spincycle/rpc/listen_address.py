"""Validates addresses to listen on before they are passed to gRPC."""

from __future__ import annotations

import socket
from pathlib import Path

from spincycle.rpc.address import is_address, is_unix, socket_path
from spincycle.runtime.config import ConfigError

_MAX_SOCKET_PATH = 107
"""Maximum bytes of the path of a Unix socket, set by the kernel."""


def check_listen(address: str, setting: str) -> None:
    """Check that a process can listen on an address.

    Raises:
        ConfigError: the address is neither host:port nor unix:/path, or its path cannot be used for
            a socket; the message names `setting`.
    """
    if not is_address(address):
        raise ConfigError(f'{setting}: "{address}" must be host:port or unix:/path')
    if is_unix(address):
        _check_socket(socket_path(address), setting)


def _check_socket(path: str, setting: str) -> None:
    if len(path.encode()) > _MAX_SOCKET_PATH:
        raise ConfigError(
            f"{setting}: the path of a Unix socket can have at most {_MAX_SOCKET_PATH} bytes, and "
            f"{path} has {len(path.encode())}; choose a shorter directory"
        )
    if not Path(path).parent.is_dir():
        raise ConfigError(f"{setting}: {Path(path).parent} is not a directory; create it first")
    if Path(path).exists() and not Path(path).is_socket():
        raise ConfigError(f"{setting}: {path} exists and is not a socket; choose another path")
    # gRPC would replace the socket of a running process, which would become unreachable.
    with socket.socket(socket.AF_UNIX) as attempt:
        attempt.settimeout(1.0)
        try:
            attempt.connect(path)
        except OSError:
            return
    raise ConfigError(f"{setting}: another process listens on {path}")
