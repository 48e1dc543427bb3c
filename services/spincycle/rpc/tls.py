"""TLS credentials of listeners."""

from __future__ import annotations

from pathlib import Path

import grpc
import structlog

from spincycle.runtime.config import ConfigError, IdentityConfig, InternalConfig, TlsConfig


def public_credentials(tls: TlsConfig) -> grpc.ServerCredentials | None:
    """Return the credentials of a public listener; None without TLS.

    The files are read again for each new connection, so that a renewed certificate takes effect.

    Raises:
        ConfigError: a file cannot be read, or the combination of settings is invalid.
    """
    if tls.certificate is None and tls.key is None:
        if tls.client_ca is not None:
            raise ConfigError("tls.client_ca requires TLS: set tls.certificate and tls.key")
        return None
    if tls.certificate is None or tls.key is None:
        raise ConfigError("tls.certificate and tls.key must both be set; one of them is missing")
    return _credentials(tls.certificate, tls.key, tls.client_ca)


def internal_credentials(config: InternalConfig) -> grpc.ServerCredentials | None:
    """Return the credentials of an internal listener; None without certificates.

    Callers must present a certificate of `ca`. The files are read again for each new connection.

    Raises:
        ConfigError: a file cannot be read, or one of the three is missing.
    """
    files = identity_files(config)
    if files is None:
        return None
    ca, key, certificate = files
    return _credentials(certificate, key, ca)


def identity_files(config: IdentityConfig) -> tuple[Path, Path, Path] | None:
    """Return the files `ca`, `key` and `certificate` of a process; None if it has none.

    Raises:
        ConfigError: one of the three is missing.
    """
    if config.ca and config.key and config.certificate:
        return config.ca, config.key, config.certificate
    files = {"certificate": config.certificate, "key": config.key, "ca": config.ca}
    missing = [f"internal.{name}" for name, file in files.items() if file is None]
    if len(missing) == len(files):
        return None
    raise ConfigError(
        "internal.certificate, internal.key and internal.ca must be set together; missing: "
        + ", ".join(missing)
    )


def read_pem(file: Path) -> bytes:
    """Return the contents of a file.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}")


def _credentials(certificate: Path, key: Path, client_ca: Path | None) -> grpc.ServerCredentials:
    files = _CertificateFiles(certificate, key, client_ca)
    return grpc.dynamic_ssl_server_credentials(
        files.read(),
        files.changed,  # type: ignore[arg-type] # the stubs lack None, which means no change
        require_client_authentication=client_ca is not None,
    )


class _CertificateFiles:
    """The certificate files of a server, and their contents when last read."""

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None) -> None:
        self._files = (key, certificate, *([client_ca] if client_ca else []))
        self._contents: tuple[bytes, ...] = ()

    def read(self) -> grpc.ServerCertificateConfiguration:
        self._contents = tuple(read_pem(file) for file in self._files)
        key, certificate, *roots = self._contents
        return grpc.ssl_server_certificate_configuration(
            [(key, certificate)], roots[0] if roots else None
        )

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the new configuration; None if the files are unchanged or cannot be read."""
        before = self._contents
        try:
            configuration = self.read()
        except ConfigError as error:
            structlog.get_logger().warning("certificates not reloaded", problem=str(error))
            return None
        return None if self._contents == before else configuration
