"""Configuration of the request manager."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar

from msgspec import Meta

from spincycle.access.config import AccessConfig, AuthConfig
from spincycle.runtime.config import (
    Config,
    DatabaseConfig,
    HealthConfig,
    InternalConfig,
    Seconds,
    Section,
    TlsConfig,
)


class SecretsConfig(Section, frozen=True):
    """How the values of secret arguments are stored."""

    key_file: Path | None = None
    """File of the sealing keys, which all request managers share. Read again when it changes.
    Without it, requests with secret arguments are refused."""

    plaintext: bool = False
    """Store secrets in clear. With key_file, what is sealed is read, and nothing more is sealed:
    the step in which request managers get their first key."""

    allow_clear_rows: bool = False
    """Whether the request manager starts while secrets are in clear that were stored before it had
    a key. `spincycle secrets rotate` seals them."""


class AuditConfig(Section, frozen=True):
    """The audit log."""

    signing_key: Path | None = None
    """File with the private Ed25519 key that signs the audit log, from `spincycle keys init`. All
    request managers have the same one. Without it the audit log is sealed, and not signed."""

    seal_interval: Seconds = 2.0
    """Seconds between two seals of new entries."""


class RequestManagerConfig(Config, frozen=True):
    """Configuration of the request manager."""

    prefix: ClassVar[str] = "SPINCYCLE_RM_"

    listen: str = "127.0.0.1:32310"
    """Address of the public listener, for users and programs, host:port."""

    internal: InternalConfig = InternalConfig(listen="127.0.0.1:32320")
    """The listener for job runners and gateways, and the identities of the services."""

    append_grant_keys: Path | None = None
    """File of the keys that request managers and job logs share: with them a request manager grants
    the runner of a request to append entries of it. Read again when it changes. Required if callers
    of the internal listener are identified."""

    runner_networks: tuple[str, ...] = (
        "127.0.0.0/8",
        "::1/128",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "fc00::/7",
    )
    """Addresses at which runners may be reached: networks such as 10.0.0.0/8, and host names, exact
    or as *.suffix. Runners that advertise other addresses are refused."""

    legacy_runner_calls: bool = False
    """Whether gateways may report for the original's job runners."""

    health: HealthConfig = HealthConfig()
    """The listener for probes."""

    tls: TlsConfig = TlsConfig()
    """TLS of the public listener."""

    installation_name: str = ""
    """Name of the installation, which GetServerInfo returns to clients."""

    auth: AuthConfig = AuthConfig()
    """How callers of the public listener are authenticated."""

    access: AccessConfig = AccessConfig()
    """What they may do."""

    secrets: SecretsConfig = SecretsConfig()
    """How the values of secret arguments are stored."""

    audit: AuditConfig = AuditConfig()
    """Seals of the audit log."""

    database: DatabaseConfig = DatabaseConfig()
    """The database that holds the schema request_manager."""

    specs_dir: Path = Path("specs")
    """Directory of spec files."""

    specs_interval: Annotated[float, Meta(ge=0)] = 0.0
    """Seconds between two checks for changed files in it, which are then reloaded; 0 disables the
    checks. SIGHUP and the call ReloadSpecs reload at once."""

    allow_empty_specs: bool = False
    """Whether a reload may replace specs by specs in which a file, or the whole directory, no
    longer declares a sequence."""

    jobs: tuple[str, ...] = ()
    """Job factories in addition to the installed ones, each as module:attribute."""

    job_log: str = "127.0.0.1:32322"
    """Address of the job log's internal listener, host:port or unix:/path."""

    create_timeout: Seconds = 10.0
    """Timeout in seconds for the creation of one job."""

    beat_interval: Seconds = 2.0
    """Seconds between two heartbeats of a runner."""

    silence_limit: Seconds = 8.0
    """Seconds without a heartbeat after which a runner is evicted."""

    dispatch_timeout: Seconds = 2.0
    """Seconds that a runner has to accept requests, plus one for each MB of their chains."""

    grace: Annotated[float, Meta(ge=0)] = 5.0
    """Seconds that calls in flight have to end after SIGTERM."""
