"""The services of a stack: which programs they are, and what each is told."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from spincycle.dev.marked import MARK
from spincycle.dev.ports import free_port


@dataclass(frozen=True, slots=True)
class Ports:
    """The loopback ports of a stack; all lie below those that the system gives to clients."""

    gateway: int = 32308
    request_manager: int = 32310
    job_runner: int = 32311
    job_log: int = 32312

    def chosen(self) -> Ports:
        """The same with a free port in place of each 0."""
        return Ports(
            self.gateway or free_port(),
            self.request_manager or free_port(),
            self.job_runner or free_port(),
            self.job_log or free_port(),
        )


FREE_PORTS = Ports(0, 0, 0, 0)
"""Whatever is free."""


@dataclass(frozen=True, slots=True)
class Content:
    """What a stack runs.

    Attributes:
        specs: directory of spec files.
        jobs: job factories, each `module:attribute`.
        python_path: directories in which those modules are found.
    """

    specs: Path
    jobs: tuple[str, ...] = ()
    python_path: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Service:
    """One process of a stack.

    Attributes:
        name: as people call it, for example "job-runner", or "job-runner-2" for a copy.
        program: its console script.
        port: where it listens on the loopback interface.
        protocol: how it is asked whether it is ready.
        environment: its configuration.
    """

    name: str
    program: str
    port: int
    protocol: Literal["grpc", "http"]
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """host:port."""
        return local(self.port)


def local(port: int) -> str:
    """host:port of a loopback port."""
    return f"127.0.0.1:{port}"


def services(
    ports: Ports, content: Content, dsn: str, job_runners: int
) -> tuple[list[Service], Service]:
    """The services behind the gateway, and the gateway."""
    request_manager = local(ports.request_manager)
    job_log = local(ports.job_log)
    jobs = json.dumps(content.jobs)
    behind = [
        Service(
            "job-log",
            "spincycle-job-log",
            ports.job_log,
            "grpc",
            _variables("JL", LISTEN=job_log, DATABASE__DSN=dsn),
        ),
        Service(
            "request-manager",
            "spincycle-request-manager",
            ports.request_manager,
            "grpc",
            _variables(
                "RM",
                LISTEN=request_manager,
                DATABASE__DSN=dsn,
                SPECS_DIR=str(content.specs),
                JOBS=jobs,
                JOB_LOG=job_log,
            ),
        ),
    ]
    for number in range(1, job_runners + 1):
        port = ports.job_runner if number == 1 else free_port()
        behind.append(
            Service(
                "job-runner" if number == 1 else f"job-runner-{number}",
                "spincycle-job-runner",
                port,
                "grpc",
                _variables(
                    "JR",
                    LISTEN=local(port),
                    REQUEST_MANAGER=request_manager,
                    JOB_LOG=job_log,
                    JOBS=jobs,
                ),
            )
        )
    gateway = Service(
        "gateway",
        "spincycle-gateway",
        ports.gateway,
        "http",
        _variables(
            "GATEWAY",
            LISTEN=local(ports.gateway),
            REQUEST_MANAGER=request_manager,
            JOB_LOG=job_log,
            JOB_RUNNER=local(ports.job_runner),
        ),
    )
    return behind, gateway


def _variables(service: str, **values: str) -> dict[str, str]:
    prefix = f"SPINCYCLE_{service}_"
    return {f"{prefix}LOG__FORMAT": "human"} | {prefix + key: values[key] for key in values}


def child_environment(home: Path, python_path: Iterable[Path]) -> dict[str, str]:
    """What every process of a stack finds in its environment beside its configuration."""
    inherited = os.environ.get("PYTHONPATH", "")
    path = [*map(str, python_path), *filter(None, inherited.split(os.pathsep))]
    return {
        **os.environ,
        MARK: str(home),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONUNBUFFERED": "1",
    }
