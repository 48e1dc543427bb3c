"""The services of a stack: their programs and configuration."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from spincycle.dev.configuration import Configuration
from spincycle.dev.identity_tokens import IdentityTokens
from spincycle.dev.people import PeopleFiles
from spincycle.dev.ports import free_port
from spincycle.dev.stack_processes import MARK, POSTGRES_DSN
from spincycle.identity.service_identity import GATEWAY, JOB_LOG, JOB_RUNNER, REQUEST_MANAGER


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
        environment: variables of its own, which contain no secrets.
        configuration: what the stack configures; it may contain secrets.
    """

    name: str
    program: str
    address: str
    protocol: Literal["grpc", "http"]
    environment: Mapping[str, str] = field(default_factory=dict)
    configuration: Configuration | None = None


def local(port: int) -> str:
    """Return host:port of a loopback port."""
    return f"127.0.0.1:{port}"


def services(
    ports: Ports,
    internal: InternalAddresses,
    content: Content,
    dsn: str,
    tokens: IdentityTokens,
    grant_keys: Path,
    sealing_keys: Path,
    people: PeopleFiles | None = None,
) -> tuple[list[Service], Service]:
    """Return the services behind the gateway, and the gateway.

    Args:
        ports: of the public listeners.
        internal: addresses of the internal listeners.
        content: specs and jobs.
        dsn: database of request manager and job log.
        tokens: issues the tokens by which the services identify themselves.
        grant_keys: file of the grant keys.
        sealing_keys: file of the sealing keys.
        people: tokens of the people who may call them; None for the local user alone.
    """
    auth = {"auth": people.auth()} if people else {}
    manager_token, log_token = tokens.issue(REQUEST_MANAGER), tokens.issue(JOB_LOG)
    gateway_token = tokens.issue(GATEWAY)
    runner_tokens = [
        tokens.issue(JOB_RUNNER, str(number)) for number in range(1, len(internal.job_runners) + 1)
    ]
    known = tokens.known()
    behind = [
        Service(
            "job-log",
            "spincycle-job-log",
            local(ports.job_log),
            "grpc",
            configuration=_configuration(
                "JL",
                listen=local(ports.job_log),
                **auth,
                internal={"listen": internal.job_log, "token": log_token, "tokens": known},
                append_grant_keys=str(grant_keys),
                request_manager=internal.request_manager,
                database={"dsn": dsn},
            ),
        ),
        Service(
            "request-manager",
            "spincycle-request-manager",
            local(ports.request_manager),
            "grpc",
            configuration=_configuration(
                "RM",
                listen=local(ports.request_manager),
                **auth,
                internal={
                    "listen": internal.request_manager,
                    "token": manager_token,
                    "tokens": known,
                },
                append_grant_keys=str(grant_keys),
                # Secrets that an earlier version stored stay readable.
                secrets={"key_file": str(sealing_keys), "allow_clear_rows": True},
                database={"dsn": dsn},
                specs_dir=str(content.specs),
                jobs=content.jobs,
                job_log=internal.job_log,
            ),
        ),
    ]
    behind += [
        Service(
            _runner(number),
            "spincycle-job-runner",
            address,
            "grpc",
            configuration=_configuration(
                "JR",
                internal={"listen": address, "token": token, "tokens": known},
                request_manager=internal.request_manager,
                job_log=internal.job_log,
                jobs=content.jobs,
            ),
        )
        for number, (address, token) in enumerate(
            zip(internal.job_runners, runner_tokens, strict=True), start=1
        )
    ]
    gateway = Service(
        "gateway",
        "spincycle-gateway",
        local(ports.gateway),
        "http",
        configuration=_configuration(
            "GATEWAY",
            listen=local(ports.gateway),
            **auth,
            internal={"token": gateway_token},
            request_manager=internal.request_manager,
            job_log=internal.job_log,
            job_runner=internal.job_runners[0],
        ),
    )
    return behind, gateway


def _runner(number: int) -> str:
    return "job-runner" if number == 1 else f"job-runner-{number}"


def _configuration(service: str, **keys: object) -> Configuration:
    return Configuration(f"SPINCYCLE_{service}_", {"log": {"format": "human"}, **keys})


def child_environment(home: Path, python_path: Iterable[Path]) -> dict[str, str]:
    """Return the environment of every process of a stack, without its configuration."""
    inherited = os.environ.get("PYTHONPATH", "")
    path = [*map(str, python_path), *filter(None, inherited.split(os.pathsep))]
    return {
        **{name: os.environ[name] for name in os.environ if name != POSTGRES_DSN},
        MARK: str(home),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONUNBUFFERED": "1",
    }
