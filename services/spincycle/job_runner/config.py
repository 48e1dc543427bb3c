"""What a job runner can be told."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from spincycle.config import Config, Seconds, TlsConfig


class JobRunnerConfig(Config, frozen=True):
    """Configuration of the job runner."""

    prefix: ClassVar[str] = "SPINCYCLE_JR_"

    listen: str = "127.0.0.1:32311"
    """Address to serve gRPC on, host:port."""

    tls: TlsConfig = TlsConfig()
    """TLS with callers and with the other services."""

    advertise: str = ""
    """Address at which request managers reach this runner; empty: the one it listens on."""

    request_manager: str = "127.0.0.1:32310"
    """Address of the request manager, host:port."""

    job_log: str = "127.0.0.1:32312"
    """Address of the job log, host:port."""

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
