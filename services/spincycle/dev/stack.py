"""Runs all services and their database on one machine, as child processes."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from spincycle.dev.content import has_example_jobs
from spincycle.dev.errors import StackError
from spincycle.dev.home import StackHome
from spincycle.dev.identity_tokens import IdentityTokens, kept_sealing_keys, new_grant_keys
from spincycle.dev.people import PeopleFiles, Person, write_people
from spincycle.dev.ports import is_free
from spincycle.dev.postgres import EmbeddedPostgres
from spincycle.dev.postgres_binaries import PostgresError
from spincycle.dev.services import (
    Content,
    InternalAddresses,
    Ports,
    child_environment,
    local,
    services,
)
from spincycle.dev.stack_processes import MARK, plain_environment
from spincycle.dev.supervised_service import Show, SupervisedService, exit_text

OWN_NAME = "spincycle"
"""Name of the stack itself in its output."""

DATABASE_NAME = "postgresql"
"""Name of the database in the output of the stack."""

_START_TIMEOUT = 60.0
_POLL_INTERVAL = 0.5
_STOP_TIMEOUT = 15.0


_BACKEND_NAMES = ("request-manager", "job-log")
"""Services that the others call, in stop order."""


@dataclass(frozen=True, slots=True)
class StackConfig:
    """Configuration of a stack.

    Attributes:
        content: specs and jobs.
        home: directory of the database, kept between runs; None for a temporary one.
        ports: ports of the public listeners; 0 for a free port. Internal listeners are Unix
            sockets.
        postgres_dsn: database to use instead of an embedded one.
        job_runners: number of job runners.
        people: who may call the services, beside root and the account of the stack.
        restarts: whether a service that dies is restarted.
    """

    content: Content
    home: Path | None = None
    ports: Ports = field(default_factory=Ports)
    postgres_dsn: str | None = None
    job_runners: int = 1
    people: tuple[Person, ...] = ()
    restarts: bool = True


class Stack:
    """Starts, supervises and stops the services and the database.

    However this process ends, all processes, locks and temporary directories of the stack are
    gone within seconds.

    Attributes:
        ports: the ports of the public listeners.
        postgres: the embedded database, once started.
        people: files of the people who may call the services, once started; None without any.
        tokens: the tokens by which the services identify themselves over their sockets.
    """

    def __init__(self, config: StackConfig, show: Show) -> None:
        self._config = config
        self._show = show
        self._supervised: dict[str, SupervisedService] = {}
        self._home = StackHome(config.home)
        self._database: asyncio.Task[None] | None = None
        self.ports = config.ports
        self.postgres: EmbeddedPostgres | None = None
        self.people: PeopleFiles | None = None
        self.tokens = IdentityTokens()

    async def __aenter__(self) -> Self:
        """Call `open`."""
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Call `close`."""
        await self.close()

    async def open(self) -> None:
        """Start everything and wait until it is ready.

        Raises:
            AlreadyRunning: another stack is using the directory.
            StackError: a process did not start; all others have been stopped.
        """
        try:
            await self._start()
        except PostgresError as error:
            await self.close()
            raise StackError(str(error))
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Stop all processes; gateway and runners before the services that they call.

        Idempotent. A service that does not end in time is killed.
        """
        try:
            supervised = list(reversed(self._supervised.values()))
            front = [one for one in supervised if one.service.name not in _BACKEND_NAMES]
            await asyncio.gather(*(one.stop(_STOP_TIMEOUT) for one in front))
            for name in _BACKEND_NAMES:
                if name in self._supervised:
                    await self._supervised[name].stop(_STOP_TIMEOUT)
            if self._database is not None:
                self._database.cancel()
                await asyncio.wait([self._database])
            if self.postgres is not None:
                await self.postgres.stop()
        finally:
            await self._home.release()

    @property
    def home(self) -> Path:
        """Directory of the stack."""
        return self._home.path

    @property
    def has_examples(self) -> bool:
        """Whether the stack runs the specs and jobs of the examples."""
        return has_example_jobs(self._config.content)

    @property
    def people_names(self) -> tuple[str, ...]:
        """Names of the people of the configuration."""
        return tuple(person.name for person in self._config.people)

    @property
    def dsn(self) -> str:
        """DSN of the database of all services."""
        if self._config.postgres_dsn:
            return self._config.postgres_dsn
        assert self.postgres is not None
        return self.postgres.dsn()

    @property
    def request_manager(self) -> str:
        """host:port of the request manager's gRPC service."""
        return self.address("request-manager")

    @property
    def job_log(self) -> str:
        """host:port of the job log's gRPC service."""
        return self.address("job-log")

    @property
    def gateway(self) -> str:
        """URL of the gateway, for example http://127.0.0.1:32308."""
        return f"http://{self.address('gateway')}"

    def address(self, name: str) -> str:
        """Return the address of a service: host:port, or unix:/path for a job runner."""
        return self._supervised[name].service.address

    def names(self) -> list[str]:
        """Return the names of the services in start order."""
        return list(self._supervised)

    def pid(self, name: str) -> int:
        """Return the process id of a service."""
        return self._supervised[name].pid

    async def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Kill a service; it stays down until `start`."""
        await self._supervised[name].kill(number)

    async def start(self, name: str) -> None:
        """Start a killed or stopped service and wait until it is ready."""
        self._supervised[name].start()
        await self._supervised[name].until_ready(_START_TIMEOUT)

    async def stop(self, name: str) -> None:
        """Stop a service; it stays down until `start`."""
        await self._supervised[name].stop(_STOP_TIMEOUT)

    async def restart(self, name: str) -> None:
        """Stop a service and start it."""
        await self.stop(name)
        await self.start(name)

    def kill_all(self) -> None:
        """Kill all services without waiting for them to stop."""
        for supervised in self._supervised.values():
            supervised.kill_now()

    async def _start(self) -> None:
        if remains := await self._home.acquire():
            self._show(OWN_NAME, f"ended {remains} processes of an earlier run")
        self.ports = self._config.ports.resolved()
        self._check_ports()
        environment = child_environment(self.home, self._config.content.python_path)
        if self._config.postgres_dsn is None:
            readable = {**plain_environment(), MARK: str(self.home)}
            self.postgres = EmbeddedPostgres(self.home / "postgres", readable)
            await self.postgres.start()
            if self._config.restarts:
                self._database = asyncio.create_task(self._keep_database(self.postgres))
        internal = InternalAddresses.on_sockets(self._home.sockets, self._config.job_runners)
        self.people = write_people(
            self.home,
            self._config.people,
            local(self.ports.request_manager),
            local(self.ports.job_log),
        )
        behind, gateway = services(
            self.ports,
            internal,
            self._config.content,
            self.dsn,
            self.tokens,
            new_grant_keys(self.home),
            kept_sealing_keys(self.home),
            self.people,
        )
        for service in [*behind, gateway]:
            self._supervised[service.name] = SupervisedService(
                service, environment, self._show, restarts=self._config.restarts
            )
        since = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
        addresses = {service.name: service.address for service in [*behind, gateway]}
        self._home.write_note({"since": since, **addresses})
        for supervised in self._supervised.values():
            supervised.start()
        for supervised in self._supervised.values():
            await supervised.until_ready(_START_TIMEOUT)

    async def _keep_database(self, postgres: EmbeddedPostgres) -> None:
        """Restart the database whenever it dies, unless it was killed or stopped here."""
        while True:
            if postgres.running:
                code = await postgres.until_ended()
                if postgres.is_dead:
                    self._show(DATABASE_NAME, f"{exit_text(code)}; restarting")
                    while not await self._try_start(postgres):  # noqa: ASYNC110 # a retry, not a wait
                        await asyncio.sleep(_POLL_INTERVAL)
            await asyncio.sleep(_POLL_INTERVAL)

    async def _try_start(self, postgres: EmbeddedPostgres) -> bool:
        try:
            await postgres.start()
        except PostgresError as error:
            self._show(DATABASE_NAME, f"did not start: {error}")
            return False
        return True

    def _check_ports(self) -> None:
        ports = {
            "gateway": self.ports.gateway,
            "request-manager": self.ports.request_manager,
            "job-log": self.ports.job_log,
        }
        taken = [f"{port} ({name})" for name, port in ports.items() if not is_free(port)]
        if taken:
            raise StackError(
                f"another program listens on port {', '.join(taken)}: stop it, or choose other "
                "ports, for example with --free-ports"
            )
