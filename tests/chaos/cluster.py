"""All services as real processes on a real PostgreSQL, several copies of each."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import asyncpg
from tests.chaos.marks import FILE, Mark, read_marks
from tests.chaos.member import Member
from tests.chaos.transport import Transport, open_transport

from spincycle.dev.ports import free_port
from spincycle.dev.postgres import EmbeddedPostgres
from spincycle.dev.services import Service, child_environment, local
from spincycle.dev.stack_processes import MARK

REPOSITORY = Path(__file__).parents[2]
SPECS = Path(__file__).parent / "specs"
JOBS = json.dumps(["tests.chaos.jobs:jobs"])


@dataclass(frozen=True, slots=True)
class Shape:
    """The number of copies of each service, and their settings other than addresses.

    Attributes:
        proxied: whether proxies stand before all internal listeners.
        settings: configuration by prefix (RM, JR, JL, GATEWAY).
        planted: faults of tests.chaos.planted by kind of service (RM, JR).
    """

    request_managers: int = 2
    job_runners: int = 2
    job_logs: int = 2
    gateway: bool = True
    gateways: int = 1
    proxied: bool = False
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    planted: Mapping[str, str] = field(default_factory=dict)


class Cluster:
    """The services, their database, and what their jobs left.

    Attributes:
        transport: addresses of the internal listeners, and identities of the services.
    """

    def __init__(self, home: Path, shape: Shape) -> None:
        self.home = home
        self.shape = shape
        self.database = EmbeddedPostgres(home / "postgres", {**os.environ, MARK: str(home)})
        self.marks_file = home / "marks"
        self.request_managers: list[Member] = []
        self.job_runners: list[Member] = []
        self.job_logs: list[Member] = []
        self.gateways: list[Member] = []
        self._ports = {
            "RM": [free_port() for _ in range(shape.request_managers)],
            "JL": [free_port() for _ in range(shape.job_logs)],
        }
        copies = {
            "RM": shape.request_managers,
            "JL": shape.job_logs,
            "JR": shape.job_runners,
            "GATEWAY": shape.gateways if shape.gateway else 0,
        }
        self.transport: Transport = open_transport(home, copies, proxied=shape.proxied)

    @property
    def members(self) -> list[Member]:
        """All processes but the database."""
        return [*self.request_managers, *self.job_runners, *self.job_logs, *self.gateways]

    @property
    def request_manager(self) -> str:
        """Address of the public listeners of all request managers."""
        return self.address("RM")

    @property
    def gateway(self) -> str:
        """Base URL of the gateway."""
        return f"http://{self.gateways[0].service.address}"

    def ports(self, kind: str) -> Sequence[int]:
        """Ports of the public listeners of a kind of service."""
        return self._ports[kind]

    def address(self, kind: str) -> str:
        """Address of the public listeners of all copies of a service, as gRPC resolves it."""
        return "ipv4:" + ",".join(local(port) for port in self._ports[kind])

    async def start(self) -> None:
        """Start everything and wait until it serves."""
        await self.database.start()
        await self._note_commit_times()
        await self.transport.start()
        self._build()
        for member in self.members:
            member.start()
        await asyncio.gather(*(member.until_ready() for member in self.members))

    async def stop(self) -> None:
        """End everything, frozen or not."""
        for member in self.members:
            if member.exit_code is None:
                member.send(signal.SIGCONT)
                member.send(signal.SIGKILL)
                await member.kill()
        await self.transport.stop()
        await self.database.stop()

    async def connect(self) -> asyncpg.Connection:
        """A connection to the database, for looking on."""
        return await asyncpg.connect(self.database.dsn())

    def marks(self) -> list[Mark]:
        """What jobs left so far."""
        return read_marks(self.marks_file)

    async def _note_commit_times(self) -> None:
        connection = await asyncpg.connect(self.database.dsn("postgres"))
        try:
            await connection.execute("ALTER SYSTEM SET track_commit_timestamp = on")
        finally:
            await connection.close()
        await self.database.restart()

    def _build(self) -> None:
        environment = child_environment(self.home, [REPOSITORY]) | {FILE: str(self.marks_file)}
        dsn, transport = self.database.dsn(), self.transport

        def member(kind: str, name: str, number: int, port: int, **values: str) -> Member:
            prefix = f"SPINCYCLE_{kind}_"
            address = transport.listen(kind, number) if kind == "JR" else local(port)
            listen = {"HEALTH__LISTEN": local(port)} if kind == "JR" else {"LISTEN": address}
            said = {
                # What observes the services reads their files in /proc.
                "DUMPABLE": "true",
                **listen,
                **transport.settings(kind, number),
                **values,
                **self.shape.settings.get(kind, {}),
            }
            variables = {prefix + key: value for key, value in said.items()}
            protocol: Literal["grpc", "http"] = "http" if kind == "GATEWAY" else "grpc"
            service = Service(f"{name}-{number}", f"spincycle-{name}", address, protocol, variables)
            log = self.home / f"{name}-{number}.log"
            return Member(
                service, environment, log, self.shape.planted.get(kind, ""), probed=local(port)
            )

        for number, port in enumerate(self._ports["JL"]):
            self.job_logs.append(
                member(
                    "JL",
                    "job-log",
                    number,
                    port,
                    DATABASE__DSN=dsn,
                    REQUEST_MANAGER=transport.address("RM"),
                )
            )
        for number, port in enumerate(self._ports["RM"]):
            self.request_managers.append(
                member(
                    "RM",
                    "request-manager",
                    number,
                    port,
                    DATABASE__DSN=dsn,
                    SPECS_DIR=str(SPECS),
                    JOBS=JOBS,
                    JOB_LOG=transport.address("JL"),
                )
            )
        for number in range(self.shape.job_runners):
            self.job_runners.append(
                member(
                    "JR",
                    "job-runner",
                    number,
                    free_port(),
                    REQUEST_MANAGER=transport.address("RM"),
                    JOB_LOG=transport.address("JL"),
                    JOBS=JOBS,
                    JOBS_ENVIRONMENT=json.dumps([FILE]),
                    ADVERTISE=transport.address_of_runner(number),
                )
            )
        for number in range(self.shape.gateways if self.shape.gateway else 0):
            self.gateways.append(
                member(
                    "GATEWAY",
                    "gateway",
                    number,
                    free_port(),
                    REQUEST_MANAGER=transport.address("RM"),
                    JOB_LOG=transport.address("JL"),
                    JOB_RUNNER=transport.address_of_runner(0),
                )
            )
