"""Identities of services for tests: certificates in files, and listeners that need none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from spincycle.dev.identity_tokens import IdentityTokens
from spincycle.identity.certificate_authority import (
    LEAF_LIFETIME,
    CertificateAuthority,
    IssuedCertificate,
)
from spincycle.identity.service_identity import DEFAULT_TRUST_DOMAIN, ServiceIdentity
from spincycle.rpc.dialer import Dialer
from spincycle.runtime.config import IdentityConfig, InternalConfig, Secret

UNIDENTIFIED = InternalConfig(allow_unidentified=True)
"""Configures internal listeners that anybody may call."""


def dialer_of(tokens: IdentityTokens, service: str, instance: str = "1") -> Dialer:
    """Open channels to the sockets of a stack as one of its services; see Stack.tokens."""
    return Dialer(IdentityConfig(token=Secret(tokens.issue(service, instance))))


@dataclass
class Authority:
    """A certificate authority with its files and those of the certificates that it issued."""

    directory: Path
    trust_domain: str = DEFAULT_TRUST_DOMAIN
    ca: CertificateAuthority = field(init=False)

    def __post_init__(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.ca = CertificateAuthority.create(self.trust_domain)
        self.trust(self.ca)

    @property
    def file(self) -> Path:
        return self.directory / "ca.pem"

    def trust(self, *authorities: CertificateAuthority) -> None:
        """Replace the authorities that the services trust."""
        _replace(self.file, b"".join(each.certificate for each in authorities))

    def files(self, service: str, instance: str = "1") -> tuple[Path, Path]:
        """Return the (certificate, key) of a service."""
        return self._files(f"{service}-{instance}")

    def certify(
        self, service: str, instance: str = "1", names: Sequence[str] = ()
    ) -> tuple[Path, Path]:
        """Issue a (certificate, key) for a service."""
        identity = ServiceIdentity(self.trust_domain, service, instance)
        return self._write(f"{service}-{instance}", self.ca.issue(identity, names))

    def certify_for(
        self,
        name: str,
        alternatives: Sequence[x509.GeneralName],
        lifetime: timedelta = LEAF_LIFETIME,
        since: datetime | None = None,
    ) -> tuple[Path, Path]:
        """Issue a (certificate, key) for any subject alternative names."""
        return self._write(name, self.ca.issue_for(alternatives, lifetime, since))

    def identity(self, service: str, instance: str = "1") -> IdentityConfig:
        """Configure a process that calls services."""
        certificate, key = self.certify(service, instance)
        return IdentityConfig(
            certificate=certificate, key=key, ca=self.file, trust_domain=self.trust_domain
        )

    def internal(self, listen: str, service: str, instance: str = "1") -> InternalConfig:
        """Configure the internal listener of a service."""
        certificate, key = self.certify(service, instance)
        return InternalConfig(
            listen=listen,
            certificate=certificate,
            key=key,
            ca=self.file,
            trust_domain=self.trust_domain,
        )

    def _write(self, name: str, issued: IssuedCertificate) -> tuple[Path, Path]:
        certificate, key = self._files(name)
        _replace(certificate, issued.certificate)
        _replace(key, issued.key)
        return certificate, key

    def _files(self, name: str) -> tuple[Path, Path]:
        return self.directory / f"{name}.pem", self.directory / f"{name}.key"


def _replace(file: Path, contents: bytes) -> None:
    """Write a file in one step, so that a running service reads the old contents or the new."""
    part = file.with_name(f"{file.name}.part")
    part.touch(mode=0o600)
    part.write_bytes(contents)
    part.replace(file)
