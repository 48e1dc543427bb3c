"""A certificate authority for the identities of the services, in a directory of files."""

from __future__ import annotations

import errno
import os
import re
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

from spincycle.identity.private_files import write_new
from spincycle.identity.service_identity import ServiceIdentity, check_trust_domain

CERTIFICATE_FILE = "ca.pem"
KEY_FILE = "ca.key"

LIFETIME = timedelta(days=3650)
"""Lifetime of the authority."""

LEAF_LIFETIME = timedelta(days=90)
"""Lifetime of a certificate that it issues."""

_CLOCK_DIFFERENCE = timedelta(minutes=5)
"""By how much clocks of machines may differ: a certificate is valid from that long ago."""

_COMMON_NAME_CHARACTERS = 64
"""Maximum length of a common name."""

_SCHEME = "spiffe://"

_DNS_NAME = re.compile(r"(?:\*\.)?[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*", re.ASCII)

KEY_MODE = 0o600
"""Mode of private keys."""

CERTIFICATE_MODE = 0o644
"""Mode of certificates."""


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
        """Create an authority with a new key.

        Raises:
            ValueError: the trust domain is not valid.
        """
        check_trust_domain(trust_domain)
        key = ec.generate_private_key(ec.SECP256R1())
        common_name = f"Spin Cycle {trust_domain}"[:_COMMON_NAME_CHARACTERS]
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        now = datetime.now(UTC)
        certificate = (
            _builder(name, name, now, lifetime)
            .public_key(key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(is_authority=True), critical=True)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(
                x509.SubjectAlternativeName(
                    [x509.UniformResourceIdentifier(f"{_SCHEME}{trust_domain}")]
                ),
                critical=False,
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
        certificate_pem = (directory / CERTIFICATE_FILE).read_bytes()
        key_pem = (directory / KEY_FILE).read_bytes()
        try:
            certificate = x509.load_pem_x509_certificate(certificate_pem)
        except ValueError:
            raise ValueError(f"{directory / CERTIFICATE_FILE} is not a certificate in PEM")
        try:
            key = load_pem_private_key(key_pem, None)
        except (ValueError, TypeError):
            raise ValueError(f"{directory / KEY_FILE} is not a private key in PEM")
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
        certificate = directory / CERTIFICATE_FILE
        if certificate.exists():
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(certificate))
        write_new(directory / KEY_FILE, _pem(self._key), KEY_MODE)
        write_new(certificate, self.certificate, CERTIFICATE_MODE)

    @property
    def certificate(self) -> bytes:
        """The authority's certificate, PEM."""
        return self._certificate.public_bytes(Encoding.PEM)

    @property
    def trust_domain(self) -> str:
        """The trust domain of the identities that it certifies.

        Raises:
            ValueError: its certificate names none.
        """
        try:
            extension = self._certificate.extensions.get_extension_for_class(
                x509.SubjectAlternativeName
            )
        except x509.ExtensionNotFound:
            uris = []
        else:
            uris = extension.value.get_values_for_type(x509.UniformResourceIdentifier)
        if len(uris) != 1 or not uris[0].startswith(_SCHEME):
            raise ValueError(
                f"{CERTIFICATE_FILE} has no trust domain: it was not made by spincycle certs init"
            )
        return uris[0].removeprefix(_SCHEME)

    @property
    def expires_at(self) -> datetime:
        """Time at which the authority expires, and with it what it issued."""
        return self._certificate.not_valid_after_utc

    def issue(
        self,
        identity: ServiceIdentity,
        names: Sequence[str] = (),
        lifetime: timedelta = LEAF_LIFETIME,
    ) -> IssuedCertificate:
        """Issue a certificate with a new key for a service.

        `names` are further DNS names and IP addresses at which callers reach its public listener.

        Raises:
            ValueError: a name is neither of the two, or the authority has expired.
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
        """Issue a certificate with a new key for any subject alternative names.

        It does not outlive the authority.

        Raises:
            ValueError: the authority has expired.
        """
        since = since or datetime.now(UTC)
        if since >= self.expires_at:
            raise ValueError(
                "the CA has expired; create a new one with spincycle certs init, in another "
                "directory"
            )
        lifetime = min(lifetime, self.expires_at - since)
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            _builder(x509.Name([]), self._certificate.subject, since, lifetime)
            .public_key(key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(is_authority=False), critical=True)
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
        if not _DNS_NAME.fullmatch(name):
            raise ValueError(f'"{name}" is not a DNS name or an IP address')
        return x509.DNSName(name)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )
