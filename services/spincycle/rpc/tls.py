"""TLS credentials of servers and clients."""

from __future__ import annotations

from pathlib import Path

import grpc
import structlog

from spincycle.rpc.channel import BlockingDial, Dial, open_blocking_channel, open_channel
from spincycle.runtime.config import BackendTlsConfig, ConfigError, TlsConfig


def server_credentials(tls: TlsConfig) -> grpc.ServerCredentials | None:
    """Return the credentials of a server; None without TLS.

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
    identity = _Identity(tls.certificate, tls.key, tls.client_ca)
    return grpc.dynamic_ssl_server_credentials(
        identity.read(),
        identity.changed,  # type: ignore[arg-type] # the stubs lack None, which means no change
        require_client_authentication=tls.client_ca is not None,
    )


def dialer(tls: BackendTlsConfig) -> Dial:
    """Return the function that opens channels to other services, with TLS if `tls.ca` is set.

    Raises:
        ConfigError: a file cannot be read.
    """
    if tls.ca is None:
        return open_channel
    _check_files(tls)

    def dial(address: str) -> grpc.aio.Channel:
        return open_channel(
            address, credentials=_channel_credentials(tls), server_name=tls.server_name
        )

    return dial


def blocking_dialer(tls: BackendTlsConfig) -> BlockingDial:
    """Return the function that opens channels for blocking calls, as `dialer` does.

    Raises:
        ConfigError: a file cannot be read.
    """
    if tls.ca is None:
        return open_blocking_channel
    _check_files(tls)
    return lambda address: open_blocking_channel(
        address, _channel_credentials(tls), tls.server_name
    )


def _channel_credentials(tls: BackendTlsConfig) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(
        _read(tls.ca) if tls.ca else None,
        _read(tls.key) if tls.key else None,
        _read(tls.certificate) if tls.certificate else None,
    )


def _check_files(tls: BackendTlsConfig) -> None:
    """Report unreadable files at startup instead of at the first call."""
    for file in (tls.ca, tls.key, tls.certificate):
        if file is not None:
            _read(file)


class _Identity:
    """The certificate files of a server, and their contents when last read."""

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None) -> None:
        self._files = (key, certificate, *([client_ca] if client_ca else []))
        self._contents: tuple[bytes, ...] = ()

    def read(self) -> grpc.ServerCertificateConfiguration:
        self._contents = tuple(_read(file) for file in self._files)
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


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}")
