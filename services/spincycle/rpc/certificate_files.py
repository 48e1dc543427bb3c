"""The certificate files of a process, which may be replaced while it runs."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from spincycle.identity.certificates import Certificate, check_key, parse_certificates
from spincycle.identity.service_identity import server_name
from spincycle.runtime.config import ConfigError, IdentityConfig, PublicTlsConfig

Check = Callable[[Certificate], object]
"""Checks that a certificate is meant for the process; raises ValueError if not."""


@dataclass(frozen=True, slots=True)
class CertificateContents:
    """Contents of the files, which fit together.

    Attributes:
        certificate, key, ca: PEM; `ca` is None without CA certificates.
        valid_from, expires_at: validity of the certificate.
    """

    certificate: bytes
    key: bytes
    ca: bytes | None
    valid_from: datetime
    expires_at: datetime


class CertificateFiles:
    """A certificate, its key and perhaps CA certificates, with their last valid contents.

    Args:
        check: further conditions of the certificate.

    Raises:
        ConfigError: a file cannot be read, the key is not that of the certificate, or the
            certificate is not valid now or not meant for this process.

    Attributes:
        certificate: file of the certificate.
        contents: contents that were valid when they were last read.
    """

    def __init__(
        self, certificate: Path, key: Path, ca: Path | None, check: Check = lambda _: None
    ) -> None:
        self.certificate = certificate
        self._key = key
        self._ca = ca
        self._check = check
        self._lock = threading.Lock()
        self.contents = self._validate(*self._read())

    def refresh(self) -> bool:
        """Read the files again; return whether there are new valid contents.

        May be called on any thread. Unchanged files cost no more than reading them.

        Raises:
            ConfigError: as the constructor; `contents` then stays.
        """
        with self._lock:
            read = self._read()
            current = self.contents
            if read == (current.certificate, current.key, current.ca):
                return False
            self.contents = self._validate(*read)
            return True

    def _read(self) -> tuple[bytes, bytes, bytes | None]:
        ca = _read_pem(self._ca) if self._ca else None
        return _read_pem(self.certificate), _read_pem(self._key), ca

    def _validate(self, certificate: bytes, key: bytes, ca: bytes | None) -> CertificateContents:
        try:
            own = parse_certificates(certificate)[0]
            own.check_validity(datetime.now(UTC))
            self._check(own)
        except ValueError as error:
            raise ConfigError(f"{self.certificate} cannot be used: {error}")
        try:
            check_key(certificate, key)
        except ValueError as error:
            raise ConfigError(
                f"{self.certificate} and {self._key} are not a certificate and its private key: "
                f"{error}"
            )
        if ca is not None:
            self._validate_ca(ca)
        return CertificateContents(certificate, key, ca, own.valid_from, own.expires_at)

    def _validate_ca(self, ca: bytes) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            # Text around the certificates may have any letters.
            context.load_verify_locations(cadata=ca.decode("ascii", errors="ignore"))
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError(f"{self._ca} has no CA certificate in PEM: {error}")


def internal_files(
    config: IdentityConfig, service: str = "", *, is_server: bool = False
) -> CertificateFiles | None:
    """Return the files with which a process identifies itself; None if it has none.

    Args:
        config: files and trust domain.
        service: service that the certificate must be for; empty for any.
        is_server: whether callers expect the DNS name of the service in the certificate.

    Raises:
        ConfigError: one of the three is missing or invalid.
    """
    files = {"certificate": config.certificate, "key": config.key, "ca": config.ca}
    missing = [f"internal.{name}" for name, file in files.items() if file is None]
    if len(missing) == len(files):
        return None
    if config.certificate is None or config.key is None or config.ca is None:
        raise ConfigError(
            "internal.certificate, internal.key and internal.ca must be set together; missing: "
            + ", ".join(missing)
        )

    def check(certificate: Certificate) -> None:
        identity = certificate.check_identity(service, config.trust_domain)
        expected = server_name(identity.service, config.trust_domain)
        if is_server and expected not in certificate.names:
            raise ValueError(f"it lacks the DNS name {expected}, which callers expect")

    return CertificateFiles(config.certificate, config.key, config.ca, check)


def public_files(tls: PublicTlsConfig, client_ca: Path | None = None) -> CertificateFiles | None:
    """Return the files of a public listener; None without TLS.

    Raises:
        ConfigError: one of the two is missing, or a file is invalid.
    """
    if tls.certificate is None and tls.key is None:
        return None
    if tls.certificate is None or tls.key is None:
        raise ConfigError("tls.certificate and tls.key must both be set; one of them is missing")
    return CertificateFiles(tls.certificate, tls.key, client_ca)


def _read_pem(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}")
