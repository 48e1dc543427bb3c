"""Checks Host headers against the allowed names, which prevents DNS rebinding.

With DNS rebinding, an attacker's host name resolves to this machine, so that a browser treats
pages of that name as same-origin with the gateway. Their calls carry the name in the Host header.
IP addresses are safe, and so is localhost: no public name is below it (RFC 6761).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from spincycle.errors import HostNotAllowed
from spincycle.gateway.error_responses import HttpError
from spincycle.runtime.config import ConfigError

_AUTHORITY = re.compile(
    r"(\[[0-9A-Za-z:.%]{1,64}\]|[0-9A-Za-z_.-]{1,255})(?::([0-9]{0,5}))?", re.ASCII
)
_TARGET = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://([^/?#]*)")

_FOR_ANY_HOST = frozenset({b"/healthz", b"/readyz", b"/version"})
"""Paths for probes and load balancers, which may use any host name."""


@dataclass(frozen=True, slots=True)
class Authority:
    """Host and port of a Host header or an origin.

    Attributes:
        name: in lower case, without a final dot; IPv6 addresses without brackets.
        port: as written; empty if missing.
    """

    name: str
    port: str

    @classmethod
    def parse(cls, text: str) -> Authority | None:
        """Parse `host` or `host:port`; None if the text is invalid or has a user name."""
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
        ConfigError: a name is not a host name.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._names = frozenset(_checked(name) for name in names)

    def check(self, scope: Any) -> None:
        """Check the Host header of a call.

        Raises:
            HttpError: 400 if the Host header is missing, repeated or malformed.
            HostNotAllowed: the name is not allowed.
        """
        if scope["raw_path"] in _FOR_ANY_HOST:
            return
        given = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if not given and scope["http_version"] == "1.0":
            # Not a browser: those always send the header.
            return
        if len(given) != 1:
            raise HttpError(400, f"one Host header is required, not {len(given) or 'none'}")
        authority = Authority.parse(given[0])
        if authority is None:
            raise HttpError(400, "the Host header is not a valid host or host:port")
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
    """Return whether an absolute-form request target has the host of every Host header.

    True for a target of another form, which has no host.
    """
    matched = _TARGET.match(target)
    if matched is None:
        return True
    given = [value.lower() for name, value in headers if name == b"host"]
    return bool(given) and all(value == matched[1].lower() for value in given)


@lru_cache(maxsize=64)
def _is_address(host: str) -> bool:
    """Return whether a host is an IPv4 address or an IPv6 address in brackets."""
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
