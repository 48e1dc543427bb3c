"""Networks and host names at which runners may be reached."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

from spincycle.errors import InvalidInput
from spincycle.rpc.address import host_of
from spincycle.runtime.config import ConfigError

SETTING = "runner_networks"

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAME = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*", re.ASCII)

_METADATA = frozenset(
    map(ipaddress.ip_address, ("100.100.100.200", "fd00:ec2::254", "fd20:ce::254"))
)
"""Metadata services of clouds within private networks: allowed only as /32 or /128."""

_LOOPBACK = (ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1"))


class RunnerNetworks:
    """Decides which addresses runners may advertise.

    Request managers connect to an advertised address, so a runner could make them connect to any
    address that they reach.

    Args:
        allowed: networks such as 10.0.0.0/8, and host names, exact or as *.suffix.

    Raises:
        ConfigError: an item is neither.
    """

    def __init__(self, allowed: Sequence[str]) -> None:
        self._networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = []
        self._names: set[str] = set()
        self._suffixes: list[str] = []
        for item in allowed:
            self._add(item)

    def check(self, address: str) -> None:
        """Check the address host:port that a runner advertises.

        Raises:
            InvalidInput: its host is not allowed.
        """
        host = host_of(address)
        ip = _ip(host)
        if ip is None:
            if not self._allows_name(_normalized(host)):
                raise InvalidInput(
                    f'the request managers do not allow runners at the host name "{host}"; '
                    f"advertise an IP address, or add the name to their {SETTING}",
                    "address",
                )
        elif ip.is_unspecified or ip.is_multicast or not self._allows_ip(ip):
            raise InvalidInput(
                f"the request managers do not allow runners at {ip}; advertise another address, or "
                f"add its network to their {SETTING}",
                "address",
            )

    def _add(self, item: str) -> None:
        try:
            self._networks.append(ipaddress.ip_network(item))
            return
        except ValueError as error:
            name = _normalized(item)
            # A name without a letter would be a mistyped address.
            if not _NAME.fullmatch(name) or not re.search("[a-z]", name):
                raise ConfigError(
                    f'{SETTING}: "{item}" is neither a network such as 10.0.0.0/8 nor a host name '
                    f"such as runner-0 or *.runners.example: {error}"
                )
        if name.startswith("*."):
            self._suffixes.append(name.removeprefix("*"))
        else:
            self._names.add(name)

    def _allows_ip(self, ip: _Address) -> bool:
        return any(
            ip in network and (ip not in _METADATA or network.num_addresses == 1)
            for network in self._networks
        )

    def _allows_name(self, name: str) -> bool:
        if name == "localhost" and any(self._allows_ip(ip) for ip in _LOOPBACK):
            return True
        return name in self._names or any(
            name.endswith(suffix) and name != suffix for suffix in self._suffixes
        )


def _ip(host: str) -> _Address | None:
    """Return the IP address that a host is, IPv4-mapped ones as IPv4; None for a name."""
    try:
        ip = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return mapped or ip


def _normalized(name: str) -> str:
    return name.lower().removesuffix(".")
