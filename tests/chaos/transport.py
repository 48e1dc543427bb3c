"""How the processes of a cluster reach each other's internal listeners, and identify themselves."""

from __future__ import annotations

import json
import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.chaos.proxy import Proxy, Relay
from tests.identities import Authority

from spincycle.dev.identity_tokens import IdentityTokens
from spincycle.dev.ports import free_port
from spincycle.dev.services import local
from spincycle.identity.service_identity import GATEWAY, JOB_LOG, JOB_RUNNER, REQUEST_MANAGER

VARIABLE = "SPINCYCLE_CHAOS_TRANSPORT"
"""Environment variable with the name of the transport."""

SERVICES = {"RM": REQUEST_MANAGER, "JL": JOB_LOG, "JR": JOB_RUNNER, "GATEWAY": GATEWAY}
"""Services by the prefix of their variables."""

LISTENING = ("RM", "JL", "JR")
"""Kinds with internal listeners."""

GRANTING = ("RM", "JL")
"""Kinds that share the grant keys."""


class Transport(ABC):
    """Addresses and identities of all processes of a cluster.

    Args:
        home: directory of the cluster.
        copies: number of processes by kind (RM, JL, JR, GATEWAY).
        proxied: whether proxies that a test can disturb stand before all internal listeners.

    Attributes:
        proxies: proxies by kind, one per process; empty without proxies.
        listeners: proxies and relays to which the services connect.
    """

    def __init__(self, home: Path, copies: Mapping[str, int], *, proxied: bool) -> None:
        self.home = home
        self.copies = copies
        self.proxied = proxied
        self.proxies: dict[str, list[Proxy]] = {kind: [] for kind in LISTENING}
        self.listeners: list[Proxy | Relay] = []
        self._grant_keys = home / "grant-keys"

    @abstractmethod
    def listen(self, kind: str, number: int) -> str:
        """Return the address of the internal listener of one process."""

    @abstractmethod
    def address(self, kind: str) -> str:
        """Return the address at which the other services reach all processes of a kind."""

    @abstractmethod
    def identify(self, kind: str, number: int) -> dict[str, str]:
        """Return the settings of the identity of one process."""

    async def start(self) -> None:
        """Write the grant keys, and start the proxies."""
        self._grant_keys.touch(mode=0o600)
        self._grant_keys.write_text(f"chaos {secrets.token_hex(32)}\n")
        for listener in self.listeners:
            await listener.start()

    async def stop(self) -> None:
        """Stop the proxies."""
        for listener in self.listeners:
            await listener.stop()

    def address_of_runner(self, number: int) -> str:
        """Return the address at which request managers reach one runner."""
        return self.proxies["JR"][number].address if self.proxied else self.listen("JR", number)

    def settings(self, kind: str, number: int) -> dict[str, str]:
        """Return the settings of one process for internal calls."""
        settings = self.identify(kind, number)
        if kind in LISTENING:
            settings["INTERNAL__LISTEN"] = self.listen(kind, number)
        if kind in GRANTING:
            settings["APPEND_GRANT_KEYS"] = str(self._grant_keys)
        return settings


class TlsTransport(Transport):
    """Mutual TLS over loopback TCP; each process has a certificate of its own.

    Attributes:
        authority: issues the certificates.
    """

    def __init__(self, home: Path, copies: Mapping[str, int], *, proxied: bool) -> None:
        super().__init__(home, copies, proxied=proxied)
        self._ports = {kind: [free_port() for _ in range(copies[kind])] for kind in LISTENING}
        if proxied:
            self.proxies = {
                kind: [Proxy(local(port), local(free_port())) for port in ports]
                for kind, ports in self._ports.items()
            }
            self.listeners = [proxy for proxies in self.proxies.values() for proxy in proxies]
        self.authority = Authority(home / "certificates")
        self.certify()

    def listen(self, kind: str, number: int) -> str:
        return local(self._ports[kind][number])

    def address(self, kind: str) -> str:
        addresses = [proxy.address for proxy in self.proxies[kind]]
        return "ipv4:" + ",".join(addresses or map(local, self._ports[kind]))

    def certify(self) -> None:
        """Issue new certificates for all processes."""
        for kind, count in self.copies.items():
            for number in range(count):
                self.authority.certify(SERVICES[kind], str(number))

    def identify(self, kind: str, number: int) -> dict[str, str]:
        certificate, key = self.authority.files(SERVICES[kind], str(number))
        return {
            "INTERNAL__CERTIFICATE": str(certificate),
            "INTERNAL__KEY": str(key),
            "INTERNAL__CA": str(self.authority.file),
        }


class UnixTransport(Transport):
    """Unix sockets; each process has a token of its own.

    A relay stands before the copies of a service: each connection goes to one of them.
    """

    def __init__(self, home: Path, copies: Mapping[str, int], *, proxied: bool) -> None:
        super().__init__(home, copies, proxied=proxied)
        self._relays: dict[str, Relay] = {}
        for kind in ("RM", "JL"):
            if copies[kind] > 1 or proxied:
                self.proxies[kind] = [Proxy(address) for address in self._addresses(kind)]
                self._relays[kind] = Relay(f"unix:{home}/{kind}", self.proxies[kind])
        if proxied:
            addresses = self._addresses("JR")
            self.proxies["JR"] = [Proxy(address, f"{address}-proxy") for address in addresses]
        self.listeners = [*self._relays.values(), *self.proxies["JR"]]
        self._tokens = IdentityTokens()
        for kind, count in copies.items():
            for number in range(count):
                self._tokens.issue(SERVICES[kind], str(number))

    def listen(self, kind: str, number: int) -> str:
        return self._addresses(kind)[number]

    def address(self, kind: str) -> str:
        return self._relays[kind].address if kind in self._relays else self.listen(kind, 0)

    def identify(self, kind: str, number: int) -> dict[str, str]:
        settings = {"INTERNAL__TOKEN": self._tokens.issue(SERVICES[kind], str(number))}
        if kind in LISTENING:
            settings["INTERNAL__TOKENS"] = json.dumps(self._tokens.known())
        return settings

    def _addresses(self, kind: str) -> Sequence[str]:
        return [f"unix:{self.home}/{kind}-{number}" for number in range(self.copies[kind])]


TRANSPORTS = {"tls": TlsTransport, "unix": UnixTransport}


def open_transport(home: Path, copies: Mapping[str, int], *, proxied: bool) -> Transport:
    """Return the transport that VARIABLE names, mutual TLS by default."""
    name = os.environ.get(VARIABLE) or "tls"
    if name not in TRANSPORTS:
        raise ValueError(f"{VARIABLE}: {name} is not a transport; use {' or '.join(TRANSPORTS)}")
    return TRANSPORTS[name](home, copies, proxied=proxied)
