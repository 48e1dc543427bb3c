"""The stack that is timed: real processes in production settings on an embedded PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Self

import asyncpg
from tests.bench.shapes import write_specs
from tests.chaos.member import Member
from tests.identities import Authority

from spincycle.dev.identity_tokens import IdentityTokens, kept_sealing_keys, new_grant_keys
from spincycle.dev.ports import free_port
from spincycle.dev.postgres import EmbeddedPostgres
from spincycle.dev.reaper import Reaper
from spincycle.dev.services import (
    FREE_PORTS,
    Content,
    InternalAddresses,
    Service,
    child_environment,
    local,
    services,
)
from spincycle.dev.stack_processes import MARK
from spincycle.identity.service_identity import JOB_RUNNER

REPOSITORY = Path(__file__).parents[2]

WITHOUT = Path(__file__).parent / "without"
"""Stands before what is installed here, and not where services run."""

_PATIENCE = 300.0


class Stand:
    """All services, one of each, and their database, from nothing.

    Args:
        sizes: those of the chains and fans that can be asked for.
        serves_metrics: whether the gRPC services serve metrics. That takes 2 MB of each and wakes
            it twice a second, so the figures of an idle stack are taken without.
        uses_tls: whether the services call each other by mutual TLS over loopback TCP, and not over
            Unix sockets.

    Attributes:
        metrics: host:port of the metrics of each gRPC service; empty if none serves them.
    """

    def __init__(
        self,
        sizes: tuple[int, ...] = (100, 1000),
        *,
        serves_metrics: bool = False,
        uses_tls: bool = False,
    ) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="spincycle-bench-"))
        self.home.chmod(0o755)
        self._reaper = Reaper(self.home, remove=[self.home])
        self._sizes = sizes
        self._serves_metrics = serves_metrics
        self._authority = Authority(self.home / "certificates") if uses_tls else None
        self.metrics: list[str] = []
        self.ports = FREE_PORTS.resolved()
        self.database = EmbeddedPostgres(
            self.home / "postgres", {**os.environ, MARK: str(self.home)}
        )
        self.members: dict[str, Member] = {}
        self.start_seconds = 0.0
        self._connection: asyncpg.Connection | None = None

    async def __aenter__(self) -> Self:
        """Start everything and wait until it serves."""
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """As `close`."""
        await self.close()

    @property
    def gateway(self) -> tuple[str, int]:
        """Host and port of the gateway."""
        return "127.0.0.1", self.ports.gateway

    @property
    def request_manager(self) -> str:
        """Address of the request manager."""
        return f"127.0.0.1:{self.ports.request_manager}"

    @property
    def connection(self) -> asyncpg.Connection:
        """A connection for looking on."""
        assert self._connection is not None
        return self._connection

    @property
    def pids(self) -> dict[str, int]:
        """Process by name, the database's first one included."""
        return {
            **{name: member.pid for name, member in self.members.items()},
            "postgresql": self.database.pid,
        }

    async def close(self) -> None:
        """End everything and leave nothing."""
        if self._connection is not None:
            await self._connection.close()
        for member in reversed(self.members.values()):
            if member.exit_code is None:
                await member.end(signal.SIGKILL)
        if self.database.running:
            await self.database.stop()
        self._reaper.dismiss()
        shutil.rmtree(self.home, ignore_errors=True)

    async def _start(self) -> None:
        specs = self.home / "specs"
        write_specs(specs, self._sizes)
        await self.database.start()
        await self._count_statements()
        environment = child_environment(self.home, [REPOSITORY, WITHOUT])
        internal = InternalAddresses.on_sockets(self.home, 1)
        if self._authority is not None:
            first, second, third = (local(free_port()) for _ in range(3))
            internal = InternalAddresses(first, second, (third,))
        behind, gateway = services(
            self.ports,
            internal,
            Content(specs),
            self.database.dsn(),
            IdentityTokens(),
            new_grant_keys(self.home),
            kept_sealing_keys(self.home),
        )
        for service in (*behind, gateway):
            assert service.configuration is not None
            # Memory is read from /proc.
            keys: dict[str, object] = {**service.configuration.keys, "dumpable": True}
            del keys["log"]
            if self._serves_metrics and service.protocol == "grpc":
                self.metrics.append(local(free_port()))
                keys["metrics"] = {"listen": self.metrics[-1]}
            probed = ""
            if self._authority is not None:
                keys["internal"] = _certified(keys["internal"], service, self._authority)
                if service.name == JOB_RUNNER:
                    probed = local(free_port())
                    keys["health"] = {"listen": probed}
            service = replace(service, configuration=replace(service.configuration, keys=keys))
            log = self.home / f"{service.name}.log"
            self.members[service.name] = Member(service, environment, log, probed=probed)
        began = time.perf_counter()
        for member in self.members.values():
            member.start()
        await asyncio.gather(*(_until_ready(member) for member in self.members.values()))
        self.start_seconds = time.perf_counter() - began
        self._connection = await asyncpg.connect(self.database.dsn())

    async def _count_statements(self) -> None:
        connection = await asyncpg.connect(self.database.dsn("postgres"))
        await connection.execute("ALTER SYSTEM SET shared_preload_libraries = pg_stat_statements")
        await connection.close()
        await self.database.restart()
        connection = await asyncpg.connect(self.database.dsn())
        await connection.execute("CREATE EXTENSION pg_stat_statements")
        await connection.close()


def _certified(internal: object, service: Service, authority: Authority) -> dict[str, object]:
    """Return the settings of a service for internal calls, with a certificate of its own."""
    assert isinstance(internal, dict)
    certificate, key = authority.certify(service.program.removeprefix("spincycle-"))
    files = {"certificate": certificate, "key": key, "ca": authority.file}
    return {**internal, **{name: str(file) for name, file in files.items()}}


async def _until_ready(member: Member) -> None:
    """Wait as long as a spec of a hundred thousand nodes takes to be checked on a busy machine."""
    async with asyncio.timeout(_PATIENCE):
        while not await member.is_ready():
            if member.exit_code is not None:
                raise RuntimeError(member.tail())
            await asyncio.sleep(0.05)
