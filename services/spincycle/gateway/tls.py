"""TLS of the API, with a certificate that may be renewed while the gateway runs."""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import Self

import structlog

from spincycle.gateway.config import ApiTlsConfig
from spincycle.rpc.certificate_files import CertificateContents, CertificateFiles, public_files
from spincycle.runtime.config import ConfigError

CHECK_INTERVAL = 1.0
"""Seconds between two checks for a renewed certificate."""

_ALPN = ["http/1.1"]


class ApiTls:
    """The TLS context of the API; new connections use the certificate that is in the files.

    Attributes:
        context: context for the listener.
    """

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self._current = self.context = _context(files.contents)
        # Called in each handshake, also if the caller names no host. Loading another certificate
        # into the context in use could leave it with a key that does not fit.
        self.context.sni_callback = self._choose

    @classmethod
    def open(cls, config: ApiTlsConfig) -> Self | None:
        """Return the TLS that is configured; None without.

        Raises:
            ConfigError: a file is missing or invalid.
        """
        files = public_files(config, config.client_ca)
        if files is not None:
            return cls(files)
        if config.client_ca is not None:
            raise ConfigError("tls.client_ca requires TLS: set tls.certificate and tls.key")
        return None

    async def watch(self) -> None:
        """Use the files again when they change, until cancelled."""
        problem = ""
        while True:
            await asyncio.sleep(CHECK_INTERVAL)
            try:
                await asyncio.to_thread(self.reload)
            except ConfigError as error:
                # Perhaps only one of the files has been replaced yet.
                if str(error) != problem:
                    problem = str(error)
                    structlog.get_logger().warning("certificate not reloaded", problem=problem)
            else:
                problem = ""

    def reload(self) -> None:
        """Use the certificate that is in the files now; may be called on any thread.

        Raises:
            ConfigError: they are invalid; the previous certificate stays in use.
        """
        if self._files.refresh():
            self._current = _context(self._files.contents)
            structlog.get_logger().info("certificate reloaded")

    def _choose(
        self,
        connection: ssl.SSLSocket | ssl.SSLObject,
        name: str | None,  # noqa: ARG002 # the signature of sni_callback
        context: ssl.SSLContext,  # noqa: ARG002
    ) -> None:
        connection.context = self._current


def _context(contents: CertificateContents) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(_ALPN)
    if contents.ca is not None:
        # Probes and callers with tokens have no certificate.
        context.verify_mode = ssl.CERT_OPTIONAL
        context.load_verify_locations(cadata=contents.ca.decode("ascii", errors="ignore"))
    # Python loads certificates from files only, and those on disk may have changed since.
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)
    with os.fdopen(descriptor, "wb") as file:
        file.write(contents.certificate + b"\n" + contents.key)
        file.flush()
        try:
            context.load_cert_chain(f"/proc/self/fd/{descriptor}")
        except ssl.SSLError as error:
            raise ConfigError(f"tls.certificate and tls.key cannot be used: {error}")
    return context
