"""TLS credentials of listeners."""

from __future__ import annotations

import grpc
import structlog

from spincycle.rpc.certificate_files import (
    CertificateContents,
    CertificateFiles,
    internal_files,
    public_files,
)
from spincycle.runtime.config import ConfigError, InternalConfig, TlsConfig


def public_credentials(tls: TlsConfig) -> grpc.ServerCredentials | None:
    """Return the credentials of a public listener; None without TLS.

    The files are read again for each new connection, so that a renewed certificate takes effect.

    Raises:
        ConfigError: a file is invalid, or so is the combination of settings.
    """
    files = public_files(tls, tls.client_ca)
    if files is not None:
        return _credentials(files)
    if tls.client_ca is not None:
        raise ConfigError("tls.client_ca requires TLS: set tls.certificate and tls.key")
    return None


def internal_credentials(
    config: InternalConfig, service: str = ""
) -> grpc.ServerCredentials | None:
    """Return the credentials of an internal listener; None without certificates.

    Callers must present a certificate of `ca`. The files are read again for each new connection.

    Raises:
        ConfigError: a file is invalid, one of the three is missing, or the certificate is not one
            of `service`; an empty `service` stands for any.
    """
    files = internal_files(config, service, is_server=True)
    return None if files is None else _credentials(files)


def _credentials(files: CertificateFiles) -> grpc.ServerCredentials:
    current = _CurrentCertificate(files)
    return grpc.dynamic_ssl_server_credentials(
        _configuration(files.contents),
        current.fetch,  # type: ignore[arg-type] # the stubs lack None, which means no change
        require_client_authentication=files.contents.ca is not None,
    )


class _CurrentCertificate:
    """Gives gRPC the current certificate at each new connection."""

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self._problem = ""
        self._fetched = files.contents

    def fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the new configuration; None if the files are unchanged or invalid.

        Called by gRPC on its own threads, on several at a time.
        """
        try:
            self._files.refresh()
        except ConfigError as error:
            # Perhaps only some of the files have been replaced yet.
            if str(error) != self._problem:
                self._problem = str(error)
                structlog.get_logger().warning("certificates not reloaded", problem=self._problem)
        contents = self._files.contents
        if contents is self._fetched:
            return None
        self._problem = ""
        self._fetched = contents
        return _configuration(contents)


def _configuration(contents: CertificateContents) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(contents.key, contents.certificate)], contents.ca
    )
