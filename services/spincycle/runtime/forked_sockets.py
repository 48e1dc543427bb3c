"""Closes the sockets of a process's listeners in forked children.

A program that a job starts does not inherit the sockets: they are closed on exec. A child that a
job forks without exec would keep them open after the death of the process: its successor could not
bind the address, and connected clients would not notice the death.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

Name: TypeAlias = "tuple[str, int] | str"
"""Local address of a socket: host and port, or the path of a Unix socket."""

_DESCRIPTORS = "/dev/fd"

_ANY = frozenset({"0.0.0.0", "::"})  # noqa: S104 # recognised, not used

_own: set[Name] = set()


def close_in_children(address: str) -> None:
    """Close the listeners at an address, and their connections, in children forked from now on.

    Args:
        address: host:port or unix:/path that this process listens on; the host is ignored.
    """
    target = _port_or_path(address)
    for sock in _sockets():
        name = _name_of(sock)
        if name is not None and _is_at(name, target) and _is_listening(sock):
            _own.add(name)
        sock.detach()


def forget(address: str) -> None:
    """Undo `close_in_children` after the listeners are closed."""
    target = _port_or_path(address)
    _own.difference_update([name for name in _own if _is_at(name, target)])


def _close_all() -> None:
    if not _own:
        return
    ports = {name[1] for name in _own if not isinstance(name, str) and name[0] in _ANY}
    for sock in _sockets():
        name = _name_of(sock)
        if name in _own or (name is not None and not isinstance(name, str) and name[1] in ports):
            sock.close()
        else:
            sock.detach()
    _own.clear()


os.register_at_fork(after_in_child=_close_all)


def _sockets() -> Iterator[socket.socket]:
    """Yield every socket of this process; the caller must detach or close each."""
    with suppress(OSError):
        for entry in Path(_DESCRIPTORS).iterdir():
            # Not a socket, or already closed.
            with suppress(OSError):
                yield socket.socket(fileno=int(entry.name))


def _name_of(sock: socket.socket) -> Name | None:
    with suppress(OSError):
        name = sock.getsockname()
        if sock.family == socket.AF_UNIX and isinstance(name, str) and name:
            return name
        if sock.family in (socket.AF_INET, socket.AF_INET6) and sock.type == socket.SOCK_STREAM:
            return name[0], name[1]
    return None


def _is_listening(sock: socket.socket) -> bool:
    with suppress(OSError):
        return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    return False


def _port_or_path(address: str) -> str | int:
    """Return the path of a Unix socket, or the port of host:port."""
    if address.startswith("unix:"):
        return address.removeprefix("unix:").removeprefix("//")
    return int(address.rpartition(":")[2])


def _is_at(name: Name, target: str | int) -> bool:
    return target == (name if isinstance(name, str) else name[1])
