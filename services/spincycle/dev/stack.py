"""All services and their database on one machine, as children of this process."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import TracebackType

from spincycle.dev.content import has_example_jobs
from spincycle.dev.errors import StackError
from spincycle.dev.home import StackHome
from spincycle.dev.ports import is_free
from spincycle.dev.postgres import EmbeddedPostgres
from spincycle.dev.postgres_binaries import PostgresError
from spincycle.dev.services import (
    Content,
    InternalAddresses,
    Ports,
    child_environment,
    services,
)
from spincycle.dev.supervised import Show, Supervised, ending

OWN_NAME = "spincycle"
"""Under which the stack itself shows lines."""

DATABASE_NAME = "postgresql"
"""Under which the stack tells what becomes of its database."""

_START_TIMEOUT = 60.0
_POLL = 0.5
_PATIENCE = 15.0


@dataclass(frozen=True, slots=True)
class StackConfig:
    """What to start, and where.

    Attributes:
        content: what the stack runs.
        home: directory that keeps the database from one start to the next; None for one
            that is thrown away.
        ports: ports of the public listeners; a 0 is replaced by a free port. Internal listeners
            are Unix sockets.
        postgres_dsn: a database to use instead of an embedded one.
        job_runners: copies of the job runner.
        again: whether a service that dies is started again.
    """

    content: Content
    home: Path | None = None
    ports: Ports = field(default_factory=Ports)
    postgres_dsn: str | None = None
    job_runners: int = 1
    again: bool = True


class Stack:
    """The services, ready for work from the start of the context to its end.

    However this process ends, nothing of the stack outlives it for more than some seconds:
    no process, no lock, and no directory that was to be thrown away.
    """

    def __init__(self, config: StackConfig, show: Show) -> None:
        self._config = config
        self._show = show
        self._supervised: dict[str, Supervised] = {}
        self._home = StackHome(config.home)
        self._database: asyncio.Task[None] | None = None
        self.ports = config.ports
        self.postgres: EmbeddedPostgres | None = None

    async def __aenter__(self) -> Stack:
        """As `open`."""
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """As `close`."""
        await self.close()

    async def open(self) -> None:
        """Start everything, and wait until it is ready.

        Raises:
            AlreadyRunning: another stack has the directory.
            StackError: something does not start; everything is stopped again.
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
        """Stop what was started, what takes work before what work needs.

        Idempotent. A service that does not end within some seconds is killed.
        """
        try:
            order = list(reversed(self._supervised.values()))
            front = [one for one in order if one.service.name not in ("request-manager", "job-log")]
            await asyncio.gather(*(one.stop(_PATIENCE) for one in front))
            for name in ("request-manager", "job-log"):
                if name in self._supervised:
                    await self._supervised[name].stop(_PATIENCE)
            if self._database is not None:
                self._database.cancel()
                await asyncio.wait([self._database])
            if self.postgres is not None:
                await self.postgres.stop()
        finally:
            await self._home.leave()

    @property
    def home(self) -> Path:
        """Where the stack keeps its files."""
        return self._home.path

    @property
    def has_examples(self) -> bool:
        """Whether it runs the specs and jobs of the examples."""
        return has_example_jobs(self._config.content)

    @property
    def dsn(self) -> str:
        """The database of all services."""
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
        """Address of the gateway, for example http://127.0.0.1:32308."""
        return f"http://{self.address('gateway')}"

    def address(self, name: str) -> str:
        """Address of a service: host:port, or unix:/path for a job runner."""
        return self._supervised[name].service.address

    def names(self) -> list[str]:
        """The services, in the order of their start."""
        return list(self._supervised)

    def pid(self, name: str) -> int:
        """Process id of a service."""
        return self._supervised[name].pid

    async def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Take a service away, and keep it down until `start`."""
        await self._supervised[name].kill(number)

    async def start(self, name: str) -> None:
        """Start a service that was killed or stopped, and wait until it is ready."""
        self._supervised[name].start()
        await self._supervised[name].until_ready(_START_TIMEOUT)

    async def stop(self, name: str) -> None:
        """Ask a service to end, and keep it down until `start`."""
        await self._supervised[name].stop(_PATIENCE)

    async def restart(self, name: str) -> None:
        """Stop a service in good order and start it again."""
        await self.stop(name)
        await self.start(name)

    def hurry(self) -> None:
        """Make a stop that is under way a quick one: kill what has not ended yet."""
        for supervised in self._supervised.values():
            supervised.kill_now()

    async def _start(self) -> None:
        if remains := await self._home.take():
            self._show(OWN_NAME, f"ended {remains} processes that an earlier run had left")
        self.ports = self._config.ports.chosen()
        self._check_ports()
        environment = child_environment(self.home, self._config.content.python_path)
        if self._config.postgres_dsn is None:
            self.postgres = EmbeddedPostgres(self.home / "postgres", environment)
            await self.postgres.start()
            if self._config.again:
                self._database = asyncio.create_task(self._keep_database(self.postgres))
        internal = InternalAddresses.on_sockets(self._home.sockets, self._config.job_runners)
        behind, gateway = services(self.ports, internal, self._config.content, self.dsn)
        for service in [*behind, gateway]:
            self._supervised[service.name] = Supervised(
                service, environment, self._show, again=self._config.again
            )
        since = datetime.now().astimezone().strftime("%Y-%m-%d %H:%M")
        addresses = {service.name: service.address for service in [*behind, gateway]}
        self._home.write_note({"since": since, **addresses})
        for supervised in self._supervised.values():
            supervised.start()
        for supervised in self._supervised.values():
            await supervised.until_ready(_START_TIMEOUT)

    async def _keep_database(self, postgres: EmbeddedPostgres) -> None:
        """Start the database again when it dies, unless it was taken away on purpose."""
        while True:
            if postgres.running:
                code = await postgres.until_ended()
                if postgres.died:
                    self._show(DATABASE_NAME, f"{ending(code)}; starting it again")
                    while not await self._started(postgres):  # noqa: ASYNC110 # a retry, no wait
                        await asyncio.sleep(_POLL)
            await asyncio.sleep(_POLL)

    async def _started(self, postgres: EmbeddedPostgres) -> bool:
        try:
            await postgres.start()
        except PostgresError as error:
            self._show(DATABASE_NAME, f"does not start: {error}")
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
