"""Configuration of the job runner."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import Meta

from spincycle.runtime.config import Config, HealthConfig, InternalConfig, Seconds


class JobRunnerConfig(Config, frozen=True):
    """Settings of the job runner."""

    prefix: ClassVar[str] = "SPINCYCLE_JR_"

    internal: InternalConfig = InternalConfig(listen="127.0.0.1:32321")
    """The listener for request managers, and the identities of the services. A job runner has no
    public listener."""

    legacy_runner_calls: bool = False
    """Whether gateways may run and stop chains for the original's request managers."""

    health: HealthConfig = HealthConfig()
    """The listener for probes."""

    advertise: str = ""
    """Address at which request managers reach this runner; empty: the internal listener's."""

    request_manager: str = "127.0.0.1:32320"
    """Address of the request manager's internal listener, host:port or unix:/path."""

    job_log: str = "127.0.0.1:32322"
    """Address of the job log's internal listener, host:port or unix:/path."""

    jobs: tuple[str, ...] = ()
    """Job factories in addition to the installed ones, each as module:attribute."""

    jobs_environment: tuple[str, ...] = ()
    """Variables of jobs in addition to the few that they always get: NAME, or a pattern such as
    PROXY_*, passes variables of this process, and NAME=value sets one."""

    max_chains: Annotated[int, Meta(ge=0)] = 0
    """Maximum resident chains; 0 means no limit."""

    max_jobs: Annotated[int, Meta(ge=0)] = 0
    """Maximum running jobs; 0 means no limit. Further jobs wait for a free slot."""

    max_threads: Annotated[int, Meta(ge=1)] = 64
    """Maximum running blocking jobs, each of which has a thread. Further ones wait for a thread."""

    stop_limit: Seconds = 10.0
    """Seconds that a job may take to stop before it is cancelled or abandoned."""

    grace: Seconds = 20.0
    """Seconds that suspending all chains may take at shutdown."""

    loop_block_limit: Annotated[float, Meta(ge=1)] = 60.0
    """Seconds for which job code may block the event loop before the runner ends itself."""
