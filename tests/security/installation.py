"""The four services as processes with mutual TLS on loopback, and callers with any certificate."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Literal

import asyncpg
import grpc
from tests.chaos.home import temporary_home
from tests.chaos.member import Member
from tests.identities import Authority
from tests.security.rows import Rows, changes, read_rows
from tests.waiting import until

from spincycle.dev.ports import free_port
from spincycle.dev.services import Service, child_environment, local
from spincycle.identity.append_grants import AppendGrant, GrantKeys
from spincycle.identity.service_identity import (
    GATEWAY,
    JOB_LOG,
    JOB_RUNNER,
    REQUEST_MANAGER,
    server_name,
)
from spincycle.runtime.config import IdentityConfig
from spincycle.v1 import request_manager_service_pb2, state_pb2
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub

REPOSITORY = Path(__file__).parents[2]
SPECS = Path(__file__).parent / "specs"

PREFIXES = {REQUEST_MANAGER: "RM", JOB_LOG: "JL", JOB_RUNNER: "JR", GATEWAY: "GATEWAY"}

LISTENING = (REQUEST_MANAGER, JOB_LOG, JOB_RUNNER)
"""Services that have an internal listener."""

Settings = Mapping[str, Mapping[str, str]]

NO_SETTINGS: Settings = {}

ROGUE = "rogue"
"""Instance of the job runner that a test plays."""

UNLIMITED = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]


class Installation:
    """One process of each service.

    Args:
        dsn: address of an empty database.
        settings: further settings by service, for example {REQUEST_MANAGER: {"GRACE": "1"}}.

    Attributes:
        authority: issues the certificates of the services, and of callers in tests.
        internal: addresses of the internal listeners by service.
        public: addresses of the public listeners by service.
    """

    def __init__(self, home: Path, dsn: str, settings: Settings = NO_SETTINGS) -> None:
        self.home = home
        self.authority = Authority(home / "certificates")
        self.internal = {service: local(free_port()) for service in LISTENING}
        self.public = {
            service: local(free_port()) for service in (REQUEST_MANAGER, JOB_LOG, GATEWAY)
        }
        self.members: dict[str, Member] = {}
        self._dsn = dsn
        self._settings = settings
        key = secrets.token_bytes(32)
        self._grant_keys = GrantKeys({"1": key})
        self._key_file = home / "grant-keys"
        self._key_file.touch(0o600)
        self._key_file.write_text(f"1 {key.hex()}\n")

    def start(self) -> None:
        """Start the processes and wait until they are ready."""
        database = {"DATABASE__DSN": self._dsn, "APPEND_GRANT_KEYS": str(self._key_file)}
        others = {
            "REQUEST_MANAGER": self.internal[REQUEST_MANAGER],
            "JOB_LOG": self.internal[JOB_LOG],
        }
        specs = {"SPECS_DIR": str(SPECS), "JOB_LOG": self.internal[JOB_LOG]}
        self._add(JOB_LOG, database | {"REQUEST_MANAGER": self.internal[REQUEST_MANAGER]})
        self._add(REQUEST_MANAGER, database | specs)
        self._add(JOB_RUNNER, others)
        self._add(GATEWAY, others | {"JOB_RUNNER": self.internal[JOB_RUNNER]})
        for member in self.members.values():
            member.start()
        asyncio.run(self._until_ready())

    def stop(self) -> None:
        """Kill the processes."""
        asyncio.run(self._kill())

    def identity(self, service: str, instance: str = "1") -> IdentityConfig:
        """Configure a caller with a certificate of the installation."""
        return self.authority.identity(service, instance)

    def grant(self, request_id: str, epoch: int, runner: str) -> AppendGrant:
        """Return the grant that a request manager would send to the runner of this SPIFFE ID."""
        return self._grant_keys.grant(request_id, epoch, runner)

    @asynccontextmanager
    async def channel(
        self, service: str, identity: IdentityConfig
    ) -> AsyncIterator[grpc.aio.Channel]:
        """Open a channel to an internal listener, without any limits of a client of ours."""
        files = (identity.ca, identity.key, identity.certificate)
        credentials = grpc.ssl_channel_credentials(
            *(file.read_bytes() if file else None for file in files)
        )
        options: list[tuple[str, str | int]] = [
            ("grpc.ssl_target_name_override", server_name(service, self.authority.trust_domain)),
            ("grpc.use_local_subchannel_pool", 1),
            *UNLIMITED,
        ]
        async with grpc.aio.secure_channel(self.internal[service], credentials, options) as channel:
            yield channel

    @asynccontextmanager
    async def public_channel(self, service: str) -> AsyncIterator[grpc.aio.Channel]:
        """Open a channel to a public listener likewise."""
        options = [("grpc.use_local_subchannel_pool", 1), *UNLIMITED]
        async with grpc.aio.insecure_channel(self.public[service], options) as channel:
            yield channel

    async def create_request(self) -> str:
        """Create a request, and return its id."""
        async with self.public_channel(REQUEST_MANAGER) as channel:
            create = request_manager_service_pb2.CreateRequest(type="hold")
            response = await RequestManagerServiceStub(channel).Create(create)
        return str(response.request.id)

    async def run_request(self) -> str:
        """Create a request, and return its id once its first job runs and nothing else changes."""
        request_id = await self.create_request()
        await self.until_begun(request_id)
        return request_id

    async def until_begun(self, request_id: str) -> None:
        """Wait until the first job of a request runs."""

        async def has_begun() -> bool:
            # The job before the first one is structural, and ends at once.
            async with self.database() as connection:
                begun = (
                    "SELECT state = 2 AND finished_jobs = 1 FROM request_manager.requests"
                    " WHERE request_id = $1"
                )
                return bool(await connection.fetchval(begun, request_id))

        await until(has_begun)

    async def stop_request(self, request_id: str) -> None:
        """Stop a request, and return once it has ended."""
        async with self.public_channel(REQUEST_MANAGER) as channel:
            stub = RequestManagerServiceStub(channel)
            await stub.Stop(request_manager_service_pb2.StopRequest(request_id=request_id))

            async def has_ended() -> bool:
                get = request_manager_service_pb2.GetRequest(request_id=request_id)
                return (await stub.Get(get)).request.state == state_pb2.STATE_STOPPED

            await until(has_ended)

    async def suspend_and_resume_request(self, request_id: str) -> None:
        """Suspend a request and resume it, and return once its first job runs again."""
        async with self.public_channel(REQUEST_MANAGER) as channel:
            stub = RequestManagerServiceStub(channel)
            get = request_manager_service_pb2.GetRequest(request_id=request_id)

            async def is_suspended() -> bool:
                return (await stub.Get(get)).request.state == state_pb2.STATE_SUSPENDED

            await stub.Suspend(request_manager_service_pb2.SuspendRequest(request_id=request_id))
            await until(is_suspended)
            await stub.Resume(request_manager_service_pb2.ResumeRequest(request_id=request_id))
        await self.until_begun(request_id)

    async def rows(self) -> Rows:
        """Read all rows of requests, runners and journal."""
        async with self.database() as connection:
            return await read_rows(connection)

    async def changes_since(self, before: Rows) -> list[str]:
        """Return the rows that came and went since `rows` returned `before`."""
        return changes(before, await self.rows())

    async def assignment(self, request_id: str) -> tuple[str, int]:
        """Return the runner id and the epoch of a request."""
        async with self.database() as connection:
            row = await connection.fetchrow(
                "SELECT runner_id, epoch FROM request_manager.requests WHERE request_id = $1",
                request_id,
            )
        assert row is not None
        return row["runner_id"] or "", row["epoch"]

    @asynccontextmanager
    async def database(self) -> AsyncIterator[asyncpg.Connection]:
        """Connect to the database."""
        connection = await asyncpg.connect(self._dsn)
        try:
            yield connection
        finally:
            await connection.close()

    def _add(self, service: str, settings: Mapping[str, str]) -> None:
        certificate, key = self.authority.certify(service)
        values = {
            # Tests measure the memory of the processes in /proc.
            "DUMPABLE": "true",
            "INTERNAL__CERTIFICATE": str(certificate),
            "INTERNAL__KEY": str(key),
            "INTERNAL__CA": str(self.authority.file),
            **settings,
            **self._settings.get(service, {}),
        }
        probed, protocol = self.public.get(service, ""), "http"
        if service in LISTENING:
            probed, protocol = local(free_port()), "grpc"
            values |= {"INTERNAL__LISTEN": self.internal[service], "HEALTH__LISTEN": probed}
        if service in self.public:
            values["LISTEN"] = self.public[service]
        prefix = f"SPINCYCLE_{PREFIXES[service]}_"
        kind: Literal["grpc", "http"] = "http" if protocol == "http" else "grpc"
        self.members[service] = Member(
            Service(
                service,
                f"spincycle-{service}",
                probed,
                kind,
                {prefix + name: value for name, value in values.items()},
            ),
            child_environment(self.home, [REPOSITORY]),
            self.home / f"{service}.log",
        )

    async def _until_ready(self) -> None:
        await asyncio.gather(*(member.until_ready() for member in self.members.values()))

        async def is_registered() -> bool:
            async with self.database() as connection:
                live = "SELECT 1 FROM request_manager.runners WHERE deregistered_at IS NULL"
                return await connection.fetchval(live) is not None

        await until(is_registered)

    async def _kill(self) -> None:
        await asyncio.gather(*(member.kill() for member in self.members.values()))


@contextmanager
def running_installation(
    dsn: str, settings: Callable[[Path], Settings] = lambda _: NO_SETTINGS
) -> Iterator[Installation]:
    """Run an installation on an empty database for the duration of a `with` block.

    `settings` gets the directory of the installation, for files that the settings name.
    """
    with temporary_home() as home:
        installation = Installation(home, dsn, settings(home))
        try:
            installation.start()
            yield installation
        finally:
            installation.stop()
