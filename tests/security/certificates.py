"""Certificates that no authority of ours would issue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from tests.identities import Authority

from spincycle.runtime.config import IdentityConfig

DAY = timedelta(days=1)

BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)


@dataclass(frozen=True)
class OddCertificate:
    """A certificate to issue.

    Attributes:
        uris: subject alternative names that are URIs; DNS names are in `names`.
        common_name: the subject.
        age: time since it became valid; negative for one that is not valid yet.
        lifetime: time from then on.
        usages: extended key usages.
    """

    uris: Sequence[str] = ()
    names: Sequence[str] = ()
    common_name: str = ""
    age: timedelta = DAY
    lifetime: timedelta = 30 * DAY
    usages: Sequence[x509.ObjectIdentifier] = BOTH

    def issue(
        self, authority: Authority, file: Path, *, is_self_signed: bool = False
    ) -> IdentityConfig:
        """Issue it under an authority, or sign it with its own key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, self.common_name)] if self.common_name else []
        )
        issuer = x509.load_pem_x509_certificate(authority.ca.certificate).subject
        signing = key if is_self_signed else authority.ca._key
        since = datetime.now(UTC) - self.age
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if is_self_signed else issuer)
            .serial_number(x509.random_serial_number())
            .not_valid_before(since)
            .not_valid_after(since + self.lifetime)
            .public_key(key.public_key())
            .add_extension(x509.ExtendedKeyUsage(self.usages), critical=False)
        )
        names = [
            *map(x509.UniformResourceIdentifier, self.uris),
            *map(x509.DNSName, self.names),
        ]
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName(names), critical=not self.common_name
            )
        certificate_file, key_file = file.with_suffix(".pem"), file.with_suffix(".key")
        certificate_file.write_bytes(builder.sign(signing, SHA256()).public_bytes(Encoding.PEM))
        key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return IdentityConfig(certificate=certificate_file, key=key_file, ca=authority.file)
