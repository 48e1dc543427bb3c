"""Reads certificates, and checks that they fit the process that uses them.

The library for X.509 is imported only when there is a certificate: importing it takes 50 ms.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from spincycle.identity.service_identity import ServiceIdentity

if TYPE_CHECKING:
    from cryptography import x509


@dataclass(frozen=True, slots=True)
class Certificate:
    """Contents of a certificate.

    Attributes:
        uris: URIs among the subject alternative names.
        names: DNS names and IP addresses among them.
        subject: distinguished name of its holder; empty in certificates of services.
        valid_from, expires_at: its validity.
        is_authority: whether it may sign other certificates.
    """

    uris: tuple[str, ...]
    names: tuple[str, ...]
    subject: str
    valid_from: datetime
    expires_at: datetime
    is_authority: bool

    def check_validity(self, now: datetime) -> None:
        """Check that the certificate is valid at a time.

        Raises:
            ValueError: it has expired, or is not valid yet.
        """
        if now >= self.expires_at:
            raise ValueError(f"it expired on {text_of(self.expires_at)}; issue a new one")
        if now < self.valid_from:
            raise ValueError(
                f"it is valid only from {text_of(self.valid_from)} on; check the machine's clock"
            )

    def identity(self) -> ServiceIdentity:
        """Return the identity of the service that the certificate is for.

        Raises:
            ValueError: it has no URI or several, or the URI is not the identity of a service.
        """
        if len(self.uris) != 1:
            raise ValueError(
                f"it has {len(self.uris)} URIs as subject alternative names, not exactly one, "
                "spiffe://<trust domain>/spincycle/<service>/<instance>"
            )
        return ServiceIdentity.parse(self.uris[0])

    def check_identity(self, service: str, trust_domain: str) -> ServiceIdentity:
        """Check that the certificate is one of a service, and return its identity.

        An empty `service` stands for any.

        Raises:
            ValueError: it is for another service or trust domain, or for no service.
        """
        identity = self.identity()
        if identity.trust_domain != trust_domain:
            raise ValueError(f'it is for {identity}, but internal.trust_domain is "{trust_domain}"')
        if service and identity.service != service:
            raise ValueError(f"it is for {identity}, but this process is a {service}")
        return identity


def parse_certificates(pem: bytes) -> list[Certificate]:
    """Return the certificates in a PEM file.

    Raises:
        ValueError: there is none, or one is malformed.
    """
    from cryptography import x509

    try:
        loaded = x509.load_pem_x509_certificates(pem)
        return [_contents(each) for each in loaded]
    except ValueError:
        raise ValueError("it is not a certificate in PEM")


def check_key(certificate: bytes, key: bytes) -> None:
    """Check that a PEM key is that of the first certificate of a PEM file.

    Raises:
        ValueError: it is another key, is encrypted, or one of the two is malformed.
    """
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(key, None)
    except TypeError:
        raise ValueError("the key is encrypted; store it without a passphrase")
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("the key is not a private key in PEM")
    first = x509.load_pem_x509_certificates(certificate)[0]
    if private.public_key() != first.public_key():
        raise ValueError("the key is that of another certificate")


def text_of(moment: datetime) -> str:
    """Return a time for messages, such as 2026-12-01 13:35 UTC."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _contents(loaded: x509.Certificate) -> Certificate:
    from cryptography import x509

    try:
        extension = loaded.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        alternatives = list(extension.value)
    except x509.ExtensionNotFound:
        alternatives = []
    try:
        is_authority = loaded.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        is_authority = False
    return Certificate(
        uris=tuple(
            each.value for each in alternatives if isinstance(each, x509.UniformResourceIdentifier)
        ),
        names=tuple(
            str(each.value)
            for each in alternatives
            if isinstance(each, (x509.DNSName, x509.IPAddress))
        ),
        subject=loaded.subject.rfc4514_string(),
        valid_from=loaded.not_valid_before_utc,
        expires_at=loaded.not_valid_after_utc,
        is_authority=is_authority,
    )
