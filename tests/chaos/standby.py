"""An asynchronous streaming standby of a cluster's database."""

from __future__ import annotations

import os
import shutil

import asyncpg
from tests.chaos.cluster import Cluster
from tests.chaos.setback import Setback
from tests.chaos.witness import read_journal
from tests.program_output import run_program
from tests.waiting import until

from spincycle.dev.ports import free_port
from spincycle.dev.postgres import EmbeddedPostgres
from spincycle.dev.postgres_binaries import choose_account, find_binaries
from spincycle.dev.stack_processes import MARK


class Standby:
    """Copies a cluster's database, follows it for a while, and takes its place."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._home = cluster.home / "standby"
        self._environment = {**os.environ, MARK: str(cluster.home)}
        self._server = EmbeddedPostgres(self._home, self._environment)
        self._kept_until = 0.0

    async def start(self) -> None:
        """Copy the primary and follow it."""
        primary, account = self._cluster.home / "postgres", choose_account()
        self._home.mkdir(mode=0o755)
        data = self._home / "data"
        data.mkdir(mode=0o700)
        account.own(data)
        program = find_binaries(account, primary / "programs").directory / "pg_basebackup"
        command = [
            str(program),
            f"--pgdata={data}",
            f"--dbname={self._cluster.database.dsn('')}",
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--no-sync",
        ]
        copied = await run_program(command, cwd="/", **account.as_child())
        assert copied.returncode == 0, copied.stderr
        shutil.copy(primary / "password", self._home / "password")
        await self._server.start()
        connection = await asyncpg.connect(self._server.dsn())
        await until(lambda: connection.fetchval("SELECT true FROM pg_stat_wal_receiver"))
        await connection.close()

    async def fall_behind(self) -> None:
        """Let nothing more of the primary arrive."""
        connection = await asyncpg.connect(self._server.dsn())
        await connection.execute("ALTER SYSTEM SET primary_conninfo = ''")
        await connection.execute("SELECT pg_reload_conf()")
        followers = "SELECT count(*) FROM pg_stat_wal_receiver"
        await until(lambda: _is(connection, followers, 0))
        last = "SELECT extract(epoch FROM pg_last_xact_replay_timestamp())::float8"
        self._kept_until = await connection.fetchval(last)
        await connection.close()

    async def take_over(self) -> Setback:
        """Kill the primary and serve at its address; return what was lost."""
        cluster, port = self._cluster, self._cluster.home / "postgres" / "port"
        await cluster.database.kill()
        connection = await asyncpg.connect(self._server.dsn())
        assert await connection.fetchval("SELECT pg_promote()")
        await connection.close()
        await self._server.stop()
        shutil.copy(port, self._home / "port")
        cluster.database = EmbeddedPostgres(self._home, self._environment)
        await cluster.database.start()
        port.write_text(str(free_port()))
        async with EmbeddedPostgres(port.parent, self._environment) as dsn:
            connection = await asyncpg.connect(dsn)
            entries = await read_journal(connection)
            await connection.close()
        return Setback(self._kept_until, entries)

    async def stop(self) -> None:
        """End it, unless it has taken over."""
        if self._server.running:
            await self._server.stop()


async def _is(connection: asyncpg.Connection, query: str, value: int) -> bool:
    return bool(await connection.fetchval(query) == value)
