"""Authenticates users of this machine by the owner of their end of a loopback connection."""

from __future__ import annotations

import os
import pwd
import socket
import struct
from collections.abc import Callable
from ipaddress import ip_address

from spincycle.access.caller import Caller
from spincycle.access.credentials import Credentials, TcpConnection
from spincycle.errors import NotAuthenticated

LOCAL_USER = "local-user"
"""Name of the authenticator."""

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLM_F_REQUEST = 1
_NLMSG_ERROR = 2
_ESTABLISHED = 1
_ALL_STATES = 0xFFFFFFFF
_NO_COOKIE = b"\xff" * 8

_HEADER = struct.Struct("=IHHII")
_REQUEST = struct.Struct("=BBBBI")
_REPLY_END = struct.Struct("=IIIII")
"""Timer, receive queue, send queue, uid and inode at the end of an answer."""

_REPLY_END_OFFSET = 16 + 4 + 48

_FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip")
"""Headers of proxies, which call for somebody else."""

OwnerOf = Callable[[TcpConnection], int | None]
"""Returns the uid of the client's end of a connection; None if it cannot be known."""


class LocalUser:
    """Accepts root, and the account of this process, on connections over loopback.

    Args:
        roles: roles of these callers.
        owner_of: finds the owner of a connection.
    """

    name = LOCAL_USER

    def __init__(self, roles: tuple[str, ...], owner_of: OwnerOf | None = None) -> None:
        self._roles = roles
        self._owner_of = owner_of or connection_owner
        self._names: dict[int, str] = {}

    async def authenticate(self, credentials: Credentials) -> Caller | None:
        """Return the caller; None if the call does not come over loopback, or shows a token.

        A call that a proxy passes on has the account of the proxy, and is not one of a local user.

        Raises:
            NotAuthenticated: another account of this machine calls, or it cannot be known which.
        """
        connection = credentials.connection
        if connection is None or credentials.authorization or not _is_local(connection):
            return None
        if not credentials.headers.keys().isdisjoint(_FORWARDED):
            return None
        uid = self._owner_of(connection)
        if uid is None:
            raise NotAuthenticated(
                "the account of the caller on this machine cannot be known; show a token"
            )
        if uid not in (0, os.geteuid()):
            raise NotAuthenticated(
                f"the account {self._name(uid)} of this machine is neither root nor that of the "
                "service; show a token"
            )
        return Caller(self._name(uid), self._roles, self.name)

    def _name(self, uid: int) -> str:
        if uid not in self._names:
            try:
                self._names[uid] = pwd.getpwuid(uid).pw_name
            except KeyError:
                self._names[uid] = str(uid)
        return self._names[uid]


def connection_owner(connection: TcpConnection) -> int | None:
    """Ask the kernel for the owner of the client's end; None if that end is not established.

    Ports are reused, so the answer holds only while the call is in flight, and is not kept.
    """
    try:
        reply = _ask(connection)
    except OSError:
        return None
    if len(reply) < _REPLY_END_OFFSET + _REPLY_END.size:
        return None
    _, kind, *_ = _HEADER.unpack_from(reply)
    if kind != _SOCK_DIAG_BY_FAMILY or reply[17] != _ESTABLISHED:
        return None
    *_, uid, inode = _REPLY_END.unpack_from(reply, _REPLY_END_OFFSET)
    # A socket that its process has closed belongs to nobody, which reads as uid 0.
    return int(uid) if inode else None


def _ask(connection: TcpConnection) -> bytes:
    client, server = connection.client, connection.server
    source, target = ip_address(client.host), ip_address(server.host)
    if source.version != target.version:
        raise OSError("addresses of two families")
    family = socket.AF_INET if source.version == 4 else socket.AF_INET6
    body = (
        _REQUEST.pack(family, socket.IPPROTO_TCP, 0, 0, _ALL_STATES)
        + struct.pack("!HH", client.port, server.port)
        + source.packed.ljust(16, b"\0")
        + target.packed.ljust(16, b"\0")
        + bytes(4)
        + _NO_COOKIE
    )
    header = _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 1, 0)
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG
    ) as netlink:
        netlink.sendto(header + body, (0, 0))
        # The kernel answers within the call to send.
        return netlink.recv(4096, socket.MSG_DONTWAIT)


def _is_local(connection: TcpConnection) -> bool:
    try:
        return ip_address(connection.client.host).is_loopback
    except ValueError:
        return False
