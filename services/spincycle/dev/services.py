"""The services of a stack: their programs and configuration."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from spincycle.dev.ports import free_port
from spincycle.dev.stack_processes import MARK


@dataclass(frozen=True, slots=True)
class Ports:
    """Loopback ports of the public listeners, below the ephemeral range of the system."""

    gateway: int = 32308
    request_manager: int = 32310
    job_log: int = 32312

    def resolved(self) -> Ports:
        """Return the ports with a free port in place of each 0."""
        return Ports(
            self.gateway or free_port(),
            self.request_manager or free_port(),
            self.job_log or free_port(),
        )


FREE_PORTS = Ports(0, 0, 0)
"""Any free ports."""


@dataclass(frozen=True, slots=True)
class InternalAddresses:
    """Addresses of the internal listeners of a stack, each host:port or unix:/path."""

    request_manager: str
    job_log: str
    job_runners: tuple[str, ...]

    @classmethod
    def on_sockets(cls, directory: Path, job_runners: int) -> InternalAddresses:
        """Return one Unix socket per process in a directory that only its owner may access."""
        return cls(
            f"unix:{directory}/request-manager",
            f"unix:{directory}/job-log",
            tuple(f"unix:{directory}/{_runner(number)}" for number in range(1, job_runners + 1)),
        )


@dataclass(frozen=True, slots=True)
class Content:
    """The specs and jobs of a stack.

    Attributes:
        specs: directory of spec files.
        jobs: job factories, each `module:attribute`.
        python_path: directories of those modules.
    """

    specs: Path
    jobs: tuple[str, ...] = ()
    python_path: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Service:
    """One process of a stack.

    Attributes:
        name: for example "job-runner", or "job-runner-2" for its second copy.
        program: its console script.
        address: address of its public listener, else of its internal one; host:port or
            unix:/path.
        protocol: protocol of the readiness check at that address.
        environment: its configuration.
    """

    name: str
    program: str
    address: str
    protocol: Literal["grpc", "http"]
    environment: Mapping[str, str] = field(default_factory=dict)


def local(port: int) -> str:
    """Return host:port of a loopback port."""
    return f"127.0.0.1:{port}"


def services(
    ports: Ports, internal: InternalAddresses, content: Content, dsn: str
) -> tuple[list[Service], Service]:
    """Return the services behind the gateway, and the gateway."""
    jobs = json.dumps(content.jobs)
    behind = [
        Service(
            "job-log",
            "spincycle-job-log",
            local(ports.job_log),
            "grpc",
            _variables(
                "JL",
                LISTEN=local(ports.job_log),
                INTERNAL__LISTEN=internal.job_log,
                DATABASE__DSN=dsn,
            ),
        ),
        Service(
            "request-manager",
            "spincycle-request-manager",
            local(ports.request_manager),
            "grpc",
            _variables(
                "RM",
                LISTEN=local(ports.request_manager),
                INTERNAL__LISTEN=internal.request_manager,
                DATABASE__DSN=dsn,
                SPECS_DIR=str(content.specs),
                JOBS=jobs,
                JOB_LOG=internal.job_log,
            ),
        ),
    ]
    behind += [
        Service(
            _runner(number),
            "spincycle-job-runner",
            address,
            "grpc",
            _variables(
                "JR",
                INTERNAL__LISTEN=address,
                REQUEST_MANAGER=internal.request_manager,
                JOB_LOG=internal.job_log,
                JOBS=jobs,
            ),
        )
        for number, address in enumerate(internal.job_runners, start=1)
    ]
    gateway = Service(
        "gateway",
        "spincycle-gateway",
        local(ports.gateway),
        "http",
        _variables(
            "GATEWAY",
            LISTEN=local(ports.gateway),
            REQUEST_MANAGER=internal.request_manager,
            JOB_LOG=internal.job_log,
            JOB_RUNNER=internal.job_runners[0],
        ),
    )
    return behind, gateway


def _runner(number: int) -> str:
    return "job-runner" if number == 1 else f"job-runner-{number}"


def _variables(service: str, **values: str) -> dict[str, str]:
    prefix = f"SPINCYCLE_{service}_"
    return {f"{prefix}LOG__FORMAT": "human"} | {prefix + key: values[key] for key in values}


def child_environment(home: Path, python_path: Iterable[Path]) -> dict[str, str]:
    """Return the environment of every process of a stack, without its configuration."""
    inherited = os.environ.get("PYTHONPATH", "")
    path = [*map(str, python_path), *filter(None, inherited.split(os.pathsep))]
    return {
        **os.environ,
        MARK: str(home),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONUNBUFFERED": "1",
    }
