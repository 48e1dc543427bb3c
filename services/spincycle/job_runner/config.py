"""What a job runner can be told."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from spincycle.runtime.config import Config, HealthConfig, InternalConfig, Seconds, TlsConfig


class JobRunnerConfig(Config, frozen=True):
    """Configuration of the job runner."""

    prefix: ClassVar[str] = "SPINCYCLE_JR_"

    internal: InternalConfig = InternalConfig(listen="127.0.0.1:32321")
    """The listener for request managers. A job runner has no public one."""

    health: HealthConfig = HealthConfig()
    """The listener for probes."""

    tls: TlsConfig = TlsConfig()
    """TLS with callers and with the other services."""

    advertise: str = ""
    """Address at which request managers reach this runner; empty: that of its internal listener."""

    request_manager: str = "127.0.0.1:32320"
    """Address of the request manager's internal listener, host:port or unix:/path."""

    job_log: str = "127.0.0.1:32322"
    """Address of the job log's internal listener, host:port or unix:/path."""

    jobs: tuple[str, ...] = ()
    """Job factories besides the installed ones, each as module:attribute."""

    max_chains: Annotated[int, Meta(ge=0)] = 0
    """Most chains at once; 0 means no limit."""

    max_jobs: Annotated[int, Meta(ge=0)] = 0
    """Most jobs at once; 0 means no limit. What does not fit waits its turn."""

    max_threads: Annotated[int, Meta(ge=1)] = 64
    """Most blocking jobs at once; each has a thread. What does not fit waits its turn."""

    stop_limit: Seconds = 10.0
    """Seconds that a job has to end when it is told to stop; then it is abandoned."""

    grace: Seconds = 20.0
    """Seconds to suspend all chains when the process is asked to end."""
