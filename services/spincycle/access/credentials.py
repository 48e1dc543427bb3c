"""The credentials that come with a call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

MAX_TOKEN_BYTES = 16 * 1024
"""Largest bearer token."""


@dataclass(frozen=True, slots=True)
class Address:
    """One end of a TCP connection."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class TcpConnection:
    """The TCP connection of a call.

    Attributes:
        client: end of the caller.
        server: end of this process.
    """

    client: Address
    server: Address


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """A client certificate, which TLS has verified.

    Attributes:
        common_name: common name of the subject; empty without.
        names: subject alternative names: DNS names, email addresses and URIs.
    """

    common_name: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Credentials:
    """The credentials of one call.

    Attributes:
        headers: values by header name in lower case: HTTP headers, or gRPC metadata.
        peer: address of the caller, for the log.
        connection: TCP connection; None over a Unix socket, and where it cannot be known.
        certificate: client certificate; None without.
    """

    headers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    peer: str = ""
    connection: TcpConnection | None = None
    certificate: PeerCertificate | None = None

    @property
    def authorization(self) -> Sequence[str]:
        """Values of the header Authorization."""
        return self.headers.get("authorization", ())
