"""Configuration of the job log."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from msgspec import Meta

from spincycle.access.config import AuthConfig
from spincycle.runtime.config import Config, DatabaseConfig, HealthConfig, InternalConfig, TlsConfig


class JobLogConfig(Config, frozen=True):
    """Configuration of the job log."""

    prefix: ClassVar[str] = "SPINCYCLE_JL_"

    listen: str = "127.0.0.1:32312"
    """Address of the public listener, for users and programs, host:port."""

    internal: InternalConfig = InternalConfig(listen="127.0.0.1:32322")
    """The listener for request managers, job runners and gateways, and their identities."""

    append_grant_keys: Path | None = None
    """File of the keys that request managers and job logs share: with them a job log verifies that
    a request is assigned to the runner that appends entries of it. Read again when it changes.
    Required if callers of the internal listener are identified."""

    legacy_runner_calls: bool = False
    """Whether gateways may append entries for the original's job runners."""

    health: HealthConfig = HealthConfig()
    """The listener for health probes."""

    tls: TlsConfig = TlsConfig()
    """TLS of the public listener."""

    auth: AuthConfig = AuthConfig()
    """How callers of the public listener are authenticated."""

    request_manager: str = "127.0.0.1:32320"
    """The request managers' internal listener, host:port or unix:/path. They decide which journals
    a caller may read; with auth.none nobody asks them."""

    database: DatabaseConfig = DatabaseConfig()
    """The database that holds the schema job_log."""

    text_limit: Annotated[int, Meta(ge=1024, le=4 * 1024 * 1024)] = 1024 * 1024
    """Maximum bytes stored of a try's error, standard output and standard error, each."""

    data_limit: Annotated[int, Meta(ge=1024, le=32 * 1024 * 1024)] = 16 * 1024 * 1024
    """Maximum bytes of the job data of one try, as JSON."""

    grace: Annotated[float, Meta(ge=0)] = 5.0
    """Seconds that calls in flight have to end after SIGTERM."""
