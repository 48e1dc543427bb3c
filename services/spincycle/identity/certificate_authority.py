"""A certificate authority for the identities of the services, in a directory of files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Self

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from spincycle.identity.service_identity import ServiceIdentity

CERTIFICATE_FILE = "ca.pem"
KEY_FILE = "ca.key"

LIFETIME = timedelta(days=3650)
"""Lifetime of the authority."""

LEAF_LIFETIME = timedelta(days=90)
"""Lifetime of a certificate that it issues."""

_CLOCK_DIFFERENCE = timedelta(minutes=5)
"""By how much clocks of machines may differ: a certificate is valid from that long ago."""

_KEY_MODE = 0o600


@dataclass(frozen=True, slots=True)
class IssuedCertificate:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes


class CertificateAuthority:
    """Issues certificates with SPIFFE IDs."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate = certificate
        self._key = key

    @classmethod
    def create(cls, trust_domain: str, lifetime: timedelta = LIFETIME) -> Self:
        """Create an authority with a new key."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Spin Cycle {trust_domain}")])
        now = datetime.now(UTC)
        certificate = (
            _builder(name, name, now, lifetime)
            .public_key(key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_ca_usage(), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .sign(key, SHA256())
        )
        return cls(certificate, key)

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Load the authority from its directory.

        Raises:
            OSError: a file cannot be read.
            ValueError: the files are not a certificate and its elliptic curve key.
        """
        certificate = x509.load_pem_x509_certificate((directory / CERTIFICATE_FILE).read_bytes())
        key = load_pem_private_key((directory / KEY_FILE).read_bytes(), None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{directory / KEY_FILE} is not an elliptic curve key")  # noqa: TRY004 # the file is wrong, not the code
        if key.public_key() != certificate.public_key():
            raise ValueError(f"{directory / KEY_FILE} is not the key of {CERTIFICATE_FILE}")
        return cls(certificate, key)

    def save(self, directory: Path) -> None:
        """Write certificate and key; only this account can read the key.

        Raises:
            OSError: a file exists or cannot be written.
        """
        write_private(directory / KEY_FILE, _pem(self._key), exclusive=True)
        with (directory / CERTIFICATE_FILE).open("xb") as file:
            file.write(self.certificate)

    @property
    def certificate(self) -> bytes:
        """The authority's certificate, PEM."""
        return self._certificate.public_bytes(Encoding.PEM)

    def issue(
        self,
        identity: ServiceIdentity,
        names: Sequence[str] = (),
        lifetime: timedelta = LEAF_LIFETIME,
    ) -> IssuedCertificate:
        """Issue a certificate with a new key for a service.

        `names` are further DNS names and IP addresses at which callers reach its public listener.
        """
        alternatives = [
            x509.UniformResourceIdentifier(str(identity)),
            x509.DNSName(identity.server_name),
            *map(_general_name, names),
        ]
        return self.issue_for(alternatives, lifetime)

    def issue_for(
        self,
        alternatives: Sequence[x509.GeneralName],
        lifetime: timedelta = LEAF_LIFETIME,
        since: datetime | None = None,
    ) -> IssuedCertificate:
        """Issue a certificate with a new key for any subject alternative names."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(x509.Name([]), self._certificate.subject, since or datetime.now(UTC), lifetime)
            .public_key(key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
                ),
                critical=False,
            )
            # Critical, since the subject is empty.
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
            .sign(self._key, SHA256())
        )
        return IssuedCertificate(certificate.public_bytes(Encoding.PEM), _pem(key))


def write_private(file: Path, contents: bytes, *, exclusive: bool = False) -> None:
    """Write a file of mode 0600, in one step if it exists.

    Raises:
        OSError: the file cannot be written, or `exclusive` is set and it exists.
    """
    if exclusive:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        with os.fdopen(os.open(file, flags, _KEY_MODE), "wb") as new:
            new.write(contents)
        return
    part = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        write_private(part, contents, exclusive=True)
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


def _builder(
    subject: x509.Name, issuer: x509.Name, since: datetime, lifetime: timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .serial_number(x509.random_serial_number())
        .not_valid_before(since - _CLOCK_DIFFERENCE)
        .not_valid_after(since + lifetime)
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _ca_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
