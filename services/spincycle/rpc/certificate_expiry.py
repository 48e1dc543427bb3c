"""Reports when the certificates of a process expire."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog

from spincycle.identity.certificates import text_of
from spincycle.rpc.certificate_files import CertificateFiles, internal_files, public_files
from spincycle.runtime.config import ConfigError, IdentityConfig, PublicTlsConfig

WARNING_TIME = timedelta(days=7)
"""Time before expiry from which on there is a warning. Certificates that live shorter than four
weeks have it in the last quarter of their lifetime: they are renewed later."""

WARNING_INTERVAL = timedelta(days=1)
"""Time between two warnings."""

CHECK_INTERVAL = 600.0
"""Seconds between two checks."""


class CertificateExpiry:
    """Warns of certificates that expire soon, and returns the time that each has left.

    Raises:
        ConfigError: a certificate file is missing or invalid.
    """

    def __init__(self, internal: IdentityConfig, public: PublicTlsConfig | None = None) -> None:
        found = {
            "internal": internal_files(internal),
            "public": public_files(public) if public else None,
        }
        self._files: Mapping[str, CertificateFiles] = {
            listener: files for listener, files in found.items() if files
        }
        self._warned_at: dict[str, datetime] = {}

    def seconds(self) -> dict[str, float]:
        """Return the seconds until each certificate expires: `internal` and `public`."""
        now = datetime.now(UTC)
        return {
            name: (files.contents.expires_at - now).total_seconds()
            for name, files in self._files.items()
        }

    async def refresh(self) -> None:
        """Read the files again; invalid ones leave the values as they are."""
        for files in self._files.values():
            # The listeners and channels that use the files log the problem.
            with suppress(ConfigError):
                await asyncio.to_thread(files.refresh)

    async def watch(self) -> None:
        """Warn once a day of certificates that expire soon, until cancelled."""
        while self._files:
            self.warn(datetime.now(UTC))
            await asyncio.sleep(CHECK_INTERVAL)
            await self.refresh()

    def warn(self, now: datetime) -> None:
        """Log each certificate that expires soon, unless that was logged less than a day ago."""
        for name, files in self._files.items():
            contents = files.contents
            lifetime = contents.expires_at - contents.valid_from
            if now < contents.expires_at - min(WARNING_TIME, lifetime / 4):
                continue
            warned_at = self._warned_at.get(name)
            if warned_at is None or now - warned_at >= WARNING_INTERVAL:
                self._warned_at[name] = now
                structlog.get_logger().warning(
                    "certificate expires soon"
                    if now < contents.expires_at
                    else "certificate expired",
                    certificate=str(files.certificate),
                    expires_at=text_of(contents.expires_at),
                    remedy="replace the files with a new certificate and key; no restart is needed",
                )
