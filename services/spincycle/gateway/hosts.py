"""Names by which callers may reach the gateway.

A page can make a name of its own stand for this machine (DNS rebinding), and is then a page of the
same origin as the gateway to a browser. Its calls have that name in their Host header. A caller
that uses an IP address depends on no name, and no public name is below localhost (RFC 6761).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from spincycle.errors import HostNotAllowed
from spincycle.gateway.failures import HttpError
from spincycle.runtime.config import ConfigError

_AUTHORITY = re.compile(
    r"(\[[0-9A-Za-z:.%]{1,64}\]|[0-9A-Za-z_.-]{1,255})(?::([0-9]{0,5}))?", re.ASCII
)
_TARGET = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")

_FOR_ANY_HOST = frozenset({b"/healthz", b"/readyz", b"/version"})
"""Paths that probes and load balancers call by names of their own; they read nothing else."""


@dataclass(frozen=True, slots=True)
class Authority:
    """Host and port as a Host header or an origin has them.

    Attributes:
        name: in lower case, without a final dot; IPv6 addresses without brackets.
        port: as written; empty if there is none.
    """

    name: str
    port: str

    @classmethod
    def parse(cls, text: str) -> Authority | None:
        """The authority; None if the text is not one. One with a user name is not."""
        matched = _AUTHORITY.fullmatch(text)
        if matched is None:
            return None
        name, port = matched.groups(default="")
        if name.startswith("["):
            return cls(name[1:-1].lower(), port) if _is_address(name) else None
        name = name.lower().removesuffix(".")
        return cls(name, port) if name else None


class AllowedHosts:
    """Checks the Host header of each call.

    Args:
        names: allowed names, besides localhost, names below it and IP addresses.

    Raises:
        ConfigError: one of them is not a host name.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = frozenset(_checked(name) for name in names)

    def check(self, scope: Any) -> None:
        """Check a call by its ASGI scope.

        Raises:
            HttpError: 400 if HTTP does not allow its Host headers.
            HostNotAllowed: it uses a name that is not allowed.
        """
        if scope["raw_path"] in _FOR_ANY_HOST:
            return
        given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if not given and scope["http_version"] == "1.0":
            # No browser calls so.
            return
        if len(given) != 1:
            raise HttpError(400, f"there must be one Host header, not {len(given) or 'none'}")
        authority = Authority.parse(given[0])
        if authority is None:
            raise HttpError(400, "the Host header is not a host with or without a port")
        if not self._allows(authority.name):
            raise HostNotAllowed(authority.name)

    def _allows(self, name: str) -> bool:
        return (
            name == "localhost"
            or name.endswith(".localhost")
            or name in self._names
            or _is_address(name)
            or _is_address(f"[{name}]")
        )


def names_its_host(target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether the host in a target of absolute form is that of each Host header, as HTTP wants it.

    A target of another form names no host, so that this is true of it.
    """
    matched = _TARGET.match(target)
    if matched is None:
        return True
    given = [value.lower() for name, value in headers if name == b"host"]
    return bool(given) and all(value == matched[1].lower() for value in given)


@lru_cache(maxsize=64)
def _is_address(host: str) -> bool:
    """Whether a host is an IP address, which has brackets if it is one of IPv6."""
    try:
        if host.startswith("["):
            IPv6Address(host[1:-1])
        else:
            IPv4Address(host)
    except ValueError:
        return False
    return True


def _checked(name: str) -> str:
    authority = Authority.parse(name)
    if authority is None or ":" in name:
        raise ConfigError(f'hosts: "{name}" must be a host name without scheme and port')
    return authority.name
