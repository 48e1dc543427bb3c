"""An embedded PostgreSQL server, run as a child process."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

import asyncpg

from spincycle.dev.child import Process, send_until_gone, until_ended
from spincycle.dev.lock import FileLock, Locked
from spincycle.dev.ports import free_port
from spincycle.dev.postgres_binaries import (
    Account,
    Binaries,
    PostgresError,
    choose_account,
    find_binaries,
)

USER = "spincycle"
DATABASE = "spincycle"

_START_TIMEOUT = 60.0
_STOPPING = [(signal.SIGINT, 20.0), (signal.SIGQUIT, 10.0), (signal.SIGKILL, 10.0)]
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    # Without Unix sockets no directory is needed, whose path could be too long.
    "unix_socket_directories": "",
    "max_connections": "200",
    "fsync": "on",
    "synchronous_commit": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
}


class EmbeddedPostgres:
    """A PostgreSQL server on a free loopback port with a given data directory.

    The directory is created if missing, and locked while it is in use. A server left behind by a
    killed process is stopped, and its data recovered. As a context manager it returns the DSN of
    its database.
    """

    def __init__(self, home: Path, environment: Mapping[str, str] | None = None) -> None:
        """Configure the server without starting it.

        Args:
            home: directory of data, password, log and lock.
            environment: environment of the server; by default that of this process.
        """
        self._home = home.absolute()
        self._environment = dict(os.environ if environment is None else environment)
        self._lock = FileLock(self._home / "postgres.lock")
        self._process: Process | None = None
        self._should_run = False
        self._port = 0
        self._password = ""

    @property
    def running(self) -> bool:
        """Whether the server process is running."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Process id of the server; only while it runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_dead(self) -> bool:
        """Whether the server ended without being stopped or killed here; `start` restarts it."""
        return self._should_run and self._process is not None and self._process.poll() is not None

    @property
    def log(self) -> Path:
        """Path of the server's log, truncated at each start."""
        return self._home / "postgres.log"

    def dsn(self, database: str = DATABASE) -> str:
        """Return the DSN of a database, constant over restarts."""
        return f"postgresql://{USER}:{self._password}@127.0.0.1:{self._port}/{database}"

    async def __aenter__(self) -> str:
        """Start the server and return the DSN of the database."""
        await self.start()
        return self.dsn()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        """Stop the server."""
        await self.stop()

    async def start(self) -> None:
        """Create the data directory if it is missing, start the server, wait until it is ready.

        Raises:
            PostgresError: there is no PostgreSQL, the directory cannot be used, or the server
                ended immediately; the message contains the end of its log.
        """
        if self.is_dead:
            self._lock.release()
        account = choose_account()
        self._prepare_home(account)
        try:
            self._lock.acquire()
        except Locked as error:
            raise PostgresError(f"{self._home} is in use by another process: {error.note}")
        self._lock.write(f"process {os.getpid()}")
        try:
            binaries = await asyncio.to_thread(find_binaries, account, self._home / "programs")
            await self._stop_orphan()
            await self._ensure_data(account, binaries)
            await self._launch(account, binaries)
            self._should_run = True
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End all sessions and shut down cleanly, without a need for recovery."""
        if self._process is not None:
            await self._end(_STOPPING)
        self._lock.release()

    async def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Kill the server: SIGKILL simulates a crash, SIGQUIT a power loss.

        `start` restarts it at the same address.
        """
        await self._end([(number, 30.0)])
        self._lock.release()

    async def restart(self) -> None:
        """Stop and start the server at the same address."""
        await self.stop()
        await self.start()

    async def until_ended(self) -> int:
        """Wait until the server process ends; return its exit code, or -N for signal N."""
        assert self._process is not None
        return await until_ended(self._process)

    async def _end(self, signals: Sequence[tuple[int, float]]) -> None:
        self._should_run = False
        assert self._process is not None
        if self._process.poll() is None:
            await send_until_gone(self._process.pid, signals)
        self._process.wait()
        self._process = None

    @property
    def _data(self) -> Path:
        return self._home / "data"

    def _prepare_home(self, account: Account) -> None:
        self._home.mkdir(parents=True, exist_ok=True)
        if not account.other:
            return
        if self._home.stat().st_uid == os.geteuid():
            self._home.chmod(self._home.stat().st_mode | 0o011)
        for directory in [self._home, *self._home.parents]:
            found = directory.stat()
            if not found.st_mode & 0o001 and found.st_uid != account.uid:
                raise PostgresError(
                    f"{self._home} cannot hold PostgreSQL's data: PostgreSQL cannot run as root, "
                    f"and account {account.name} cannot enter {directory}; choose another directory"
                )

    async def _stop_orphan(self) -> None:
        """Stop a server that has outlived its supervisor.

        It has no owner, since the lock is held here. It is not adopted: only a child is sure to
        end with this process and to run with its settings.
        """
        pid_file = self._data / "postmaster.pid"
        pid = _first_line_as_number(pid_file)
        if pid is None:
            return
        if _works_in(pid, self._data):
            await send_until_gone(pid, _STOPPING)
        # PostgreSQL does not start if the pid now belongs to another process.
        pid_file.unlink(missing_ok=True)

    async def _ensure_data(self, account: Account, binaries: Binaries) -> None:
        secret = self._home / "password"
        version = self._data / "PG_VERSION"
        if version.exists():
            self._password = secret.read_text()
            made_by = version.read_text().strip()
            if made_by != str(binaries.major):
                raise PostgresError(
                    f"the data in {self._data} were created by PostgreSQL {made_by}, but "
                    f"{binaries.directory} is version {binaries.major}: move {self._home} away "
                    "to start with no data, or set --postgres-dsn"
                )
            return
        self._password = secrets.token_urlsafe(16)
        unfinished = self._home / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        account.own(unfinished)
        password_file = self._home / "password.new"
        password_file.touch(mode=0o600)
        password_file.write_text(self._password)
        account.own(password_file)
        await self._initdb(account, binaries, unfinished, password_file)
        if account.other:
            os.chown(password_file, os.geteuid(), os.getegid())
        # The data last: an interrupted first start is repeated from the beginning.
        password_file.rename(secret)
        unfinished.rename(self._data)

    async def _initdb(
        self, account: Account, binaries: Binaries, data: Path, password_file: Path
    ) -> None:
        command = [
            binaries.initdb,
            f"--pgdata={data}",
            f"--username={USER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-instructions",
        ]
        process = self._spawn(command, account)
        try:
            code = await until_ended(process)
        except asyncio.CancelledError:
            process.kill()
            process.wait()
            raise
        if code:
            raise PostgresError(f"initdb failed with exit code {code}:\n{self._end_of_log()}")

    async def _launch(self, account: Account, binaries: Binaries) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        kept = _first_line_as_number(self._home / "port")
        self._port = self._port or kept or free_port()
        while True:
            settings = {**_SETTINGS, "port": str(self._port)}
            options = [f"--{name}={value}" for name, value in settings.items()]
            command = [binaries.postgres, "-D", str(self._data), *options]
            self._process = self._spawn(command, account)
            if await self._ready(deadline):
                break
            code = self._process.wait()
            self._process = None
            log = self._end_of_log()
            if "Address already in use" in log:
                self._port = free_port()
            elif "still in use" not in log:
                raise PostgresError(f"PostgreSQL ended immediately, exit code {code}:\n{log}")
            elif time.monotonic() > deadline:
                raise PostgresError(f"the previous server is still running:\n{log}")
            else:
                # Sessions of a killed server are still ending.
                await asyncio.sleep(0.05)
        (self._home / "port").write_text(str(self._port))
        await self._ensure_database()

    async def _ensure_database(self) -> None:
        connection = await asyncpg.connect(self.dsn("postgres"))
        try:
            # A standby has the databases of its primary and cannot create one.
            query = "SELECT true FROM pg_database WHERE datname = $1"
            if not await connection.fetchval(query, DATABASE):
                await connection.execute(f"CREATE DATABASE {DATABASE}")
        finally:
            await connection.close()

    def _spawn(self, command: list[str], account: Account) -> Process:
        with self.log.open("wb") as log:
            return subprocess.Popen(  # noqa: S603 # no shell, and no text from outside
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=self._environment,
                # A new session, so that Ctrl-C reaches the supervisor only.
                start_new_session=True,
                **account.as_child(),
            )

    async def _ready(self, deadline: float) -> bool:
        """Wait until the server is ready; return False if it ended instead."""
        assert self._process is not None
        while self._process.poll() is None:
            lines = _lines(self._data / "postmaster.pid")
            ours = len(lines) > 7 and lines[0] == str(self._process.pid)
            if ours and lines[7].strip() == "ready":
                return True
            if time.monotonic() > deadline:
                raise PostgresError(f"PostgreSQL did not become ready:\n{self._end_of_log()}")
            await asyncio.sleep(0.005)
        return False

    def _end_of_log(self) -> str:
        return "\n".join(_lines(self.log)[-20:])


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []


def _first_line_as_number(file: Path) -> int | None:
    lines = _lines(file)
    return int(lines[0]) if lines and lines[0].isdecimal() else None


def _works_in(pid: int, directory: Path) -> bool:
    try:
        return Path(f"/proc/{pid}/cwd").resolve(strict=True) == directory.resolve()
    except OSError:
        return False
