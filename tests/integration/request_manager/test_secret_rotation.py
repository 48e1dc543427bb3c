"""`spincycle secrets` seals what is in clear or under other keys, while services run."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace
from tests.integration.request_manager.conftest import (
    Manager,
    ShelvedJobLog,
    another,
    running_manager,
    until,
)
from tests.integration.request_manager.secret_requests import (
    PASSWORD,
    RUNNING,
    SPECS,
    Keeper,
    assert_sealed,
    failed_login,
    keys_in,
    login,
    lose,
    password_of,
    store_as_earlier_versions_did,
    suspended,
)

from spincycle.admin.main import main
from spincycle.database.database import Database
from spincycle.database.queries import load_queries
from spincycle.identity import key_file
from spincycle.identity.key_file import read_keys
from spincycle.request_manager.config import RequestManagerConfig, SecretsConfig
from spincycle.request_manager.process import PACKAGE
from spincycle.request_manager.storage.secret_store import SealedState, SecretStore
from spincycle.sealing.sealing_key_file import SEALING_KEY
from spincycle.v1 import request_manager_service_pb2 as rpc

NOT_UNDER = """
SELECT count(*) FROM (SELECT sealed_under FROM request_manager.request_archives
                       UNION ALL
                      SELECT sealed_under FROM request_manager.suspended_job_chains) AS stored
 WHERE sealed_under <> $1
"""
NOT_UNDER_NULL = "SELECT count(*) FROM request_manager.request_archives WHERE sealed_under IS NULL"

WAITING = """
SELECT count(*) FROM pg_stat_activity
 WHERE datname = current_database() AND wait_event_type = 'Lock'
"""
SEALED = "SELECT count(*) FROM request_manager.request_archives WHERE sealed_under = '1'"

COPIES = 9


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return keys_in(tmp_path / "sealing-keys", "1")


@pytest.fixture
def config(config: RequestManagerConfig) -> RequestManagerConfig:
    (config.specs_dir / "login.yaml").write_text(SPECS)
    return replace(config, silence_limit=3600.0)


def with_secrets(config: RequestManagerConfig, secrets: SecretsConfig) -> RequestManagerConfig:
    return replace(another(config), secrets=secrets)


async def secrets(*words: object) -> Result:
    """Run `spincycle secrets`, which has an event loop of its own."""
    arguments = ["secrets", *map(str, words)]
    return await asyncio.to_thread(CliRunner().invoke, main, arguments)


async def rotate(database: str, keys: Path, *words: object) -> Result:
    return await secrets("rotate", "--dsn", database, "--key-file", keys, *words)


@asynccontextmanager
async def connected(database: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database)
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture
async def in_clear(
    config: RequestManagerConfig, job_log: tuple[ShelvedJobLog, str], database: str
) -> dict[str, str]:
    """Requests with secrets in clear, as an earlier version stored them, by what they are."""
    secrets = SecretsConfig(plaintext=True)
    async with running_manager(with_secrets(config, secrets), job_log[0]) as manager:
        runner = await manager.register(Keeper("first"))
        kept = await login(manager, idempotency_key="once")
        await manager.until_state(kept, RUNNING)
        await suspended(manager, runner, kept)
        failed = await failed_login(manager, runner)
        plain = (await manager.create()).request.id
    async with connected(database) as connection:
        await connection.execute("DELETE FROM request_manager.runners")
    await store_as_earlier_versions_did(database)
    return {"kept": kept, "failed": failed, "plain": plain}


async def test_secrets_of_earlier_versions_are_sealed_and_of_use_afterwards(
    config: RequestManagerConfig,
    job_log: tuple[ShelvedJobLog, str],
    database: str,
    keys: Path,
    in_clear: dict[str, str],
) -> None:
    async with connected(database) as connection:
        await connection.execute(
            "UPDATE request_manager.request_archives SET sealed_under = DEFAULT"
        )

        result = await rotate(database, keys)

        assert result.output.splitlines() == [
            'sealed 2 requests and 1 saved states under the key "1", of which 3 were in clear'
        ]
        assert result.exit_code == 0
        await assert_sealed(connection)
        assert await connection.fetchval(NOT_UNDER, "1") == 0
        assert await connection.fetchval(NOT_UNDER_NULL) == 1
    strict = with_secrets(config, SecretsConfig(key_file=keys))
    async with running_manager(strict, job_log[0]) as manager:
        runner = await manager.register(Keeper("second"))
        assert await login(manager, idempotency_key="once") == in_clear["kept"]
        await manager.stub.Resume(rpc.ResumeRequest(request_id=in_clear["kept"]))
        await until(lambda: in_clear["kept"] in runner.resumed)
        assert password_of(runner.resumed[in_clear["kept"]].job_chain) == PASSWORD
        rerun = await manager.stub.Rerun(rpc.RerunRequest(request_id=in_clear["failed"]))
        await until(lambda: rerun.request.id in runner.resumed)
        assert password_of(runner.resumed[rerun.request.id].job_chain) == PASSWORD


async def test_a_rerun_of_a_request_in_clear_is_sealed_by_the_next_rotation(
    config: RequestManagerConfig,
    job_log: tuple[ShelvedJobLog, str],
    database: str,
    keys: Path,
    in_clear: dict[str, str],
) -> None:
    secrets = SecretsConfig(key_file=keys, allow_clear_rows=True)
    async with running_manager(with_secrets(config, secrets), job_log[0]) as manager:
        rerun = await manager.stub.Rerun(rpc.RerunRequest(request_id=in_clear["failed"]))

        assert (await rotate(database, keys)).exit_code == 0

        async with connected(database) as connection:
            await assert_sealed(connection)
        runner = await manager.register(Keeper("second"))
        await until(lambda: rerun.request.id in runner.resumed)


async def test_keys_are_rotated_under_load_without_losing_a_request(
    config: RequestManagerConfig,
    job_log: tuple[ShelvedJobLog, str],
    database: str,
    keys: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(key_file, "CHECK_INTERVAL", 0.01)
    config = with_secrets(config, SecretsConfig(key_file=keys))
    async with running_manager(config, job_log[0]) as manager:
        runner = await manager.register(Keeper("runner"))
        created: list[str] = []
        load = asyncio.create_task(suspend_and_resume(manager, runner, created))
        await until(lambda: len(created) > 3)
        for step in (("add-key", keys, "--id", "2"), ("use-key", keys, "2")):
            assert (await secrets(*step)).exit_code == 0
        await until(lambda: is_sealed_under(database, created[-1], "2"))

        refused = await secrets("drop-key", keys, "1", "--dsn", database)
        assert refused.exit_code == 2
        assert 'rows are still sealed under the key "1"' in refused.output
        count = len(created)
        assert (await rotate(database, keys, "--batch", 2)).exit_code == 0
        dropped = await secrets("drop-key", keys, "1", "--dsn", database)
        assert f"{keys}: 2 (seals)\n" in dropped.output
        await until(lambda: len(created) > count + 3)
        load.cancel()
        await asyncio.wait([load])
        assert load.cancelled()

        assert list(read_keys(keys, SEALING_KEY)) == ["2"]
        async with connected(database) as connection:
            assert await connection.fetchval(NOT_UNDER, "2") == 0
            for request_id in created[:-1]:
                chain = (
                    await manager.stub.GetJobChain(rpc.GetJobChainRequest(request_id=request_id))
                ).job_chain
                assert len(chain.jobs) == 3
            await lose(connection, created[0])
            await until(lambda: runner.resumed.get(created[0]) is not None)


async def suspend_and_resume(manager: Manager, runner: Keeper, created: list[str]) -> None:
    """Create requests, and suspend and resume each of them, until cancelled."""
    while True:
        request_id = await login(manager)
        created.append(request_id)
        await manager.until_state(request_id, RUNNING)
        for _ in range(2):
            await suspended(manager, runner, request_id)
            runner.resumed.pop(request_id, None)
            await manager.stub.Resume(rpc.ResumeRequest(request_id=request_id))
            await until(lambda request_id=request_id: request_id in runner.resumed)
            assert password_of(runner.resumed[request_id].job_chain) == PASSWORD
            await manager.until_state(request_id, RUNNING)


async def is_sealed_under(database: str, request_id: str, key_id: str) -> bool:
    query = "SELECT sealed_under FROM request_manager.request_archives WHERE request_id = $1"
    async with connected(database) as connection:
        return bool(await connection.fetchval(query, request_id) == key_id)


async def test_a_rotation_that_is_killed_is_continued_by_the_next_one(
    config: RequestManagerConfig,
    job_log: tuple[ShelvedJobLog, str],
    database: str,
    keys: Path,
    in_clear: dict[str, str],
) -> None:
    async with connected(database) as connection:
        await connection.execute(
            "INSERT INTO request_manager.request_archives (request_id, create_request, args,"
            " job_chain) SELECT 'copy' || n, create_request, args, job_chain"
            " FROM request_manager.request_archives, generate_series(1, $2) AS n"
            " WHERE request_id = $1",
            in_clear["kept"],
            COPIES,
        )
        async with connected(database) as holder, holder.transaction():
            # The rotation waits here for its turn.
            await holder.execute(
                "SELECT FROM request_manager.request_archives WHERE request_id = 'copy5' FOR UPDATE"
            )
            rotation = await asyncio.create_subprocess_exec(
                sys.executable, "-c", "from spincycle.admin.main import main; main()",
                "secrets", "rotate", "--batch", "1", "--dsn", database, "--key-file", str(keys),
                env=os.environ,
            )  # fmt: skip
            await until(lambda: at_least(connection, WAITING, 1))
            rotation.kill()
            await rotation.wait()

        result = await rotate(database, keys)

        assert result.exit_code == 0
        # The server may have finished the transaction of the killed process.
        number = int(result.output.split()[1])
        assert number in (COPIES + 2 - 4, COPIES + 2 - 5)
        assert await connection.fetchval(SEALED) == COPIES + 2
        await assert_sealed(connection)
    strict = with_secrets(config, SecretsConfig(key_file=keys))
    async with running_manager(strict, job_log[0]) as manager:
        chain = rpc.GetJobChainRequest(request_id=in_clear["failed"])
        assert len((await manager.stub.GetJobChain(chain)).job_chain.jobs) == 3


async def at_least(connection: asyncpg.Connection, query: str, count: int) -> bool:
    return bool(await connection.fetchval(query) >= count)


async def test_what_cannot_be_sealed_is_named_and_all_else_is_sealed(
    database: str, keys: Path, in_clear: dict[str, str]
) -> None:
    assert (await rotate(database, keys)).exit_code == 0
    failed = in_clear["failed"]
    async with connected(database) as connection:
        await connection.execute(
            "UPDATE request_manager.request_archives SET sealed_under = '3',"
            r" job_chain = '\x0001' || '\x0133'::bytea || substring(job_chain FROM 5)"
            " WHERE request_id = $1",
            failed,
        )
    keys_in(keys, "2", "1")

    result = await rotate(database, keys)

    assert result.exit_code == 1
    sealed, error = result.output.splitlines()
    assert sealed.startswith('sealed 1 requests and 1 saved states under the key "2"')
    assert error.startswith(f"error: request {failed} is left as it is: they are sealed under")
    assert 'the key "3", which the file of secrets.key_file does not have' in error


async def test_a_saved_state_that_was_replaced_meanwhile_is_not_overwritten(
    config: RequestManagerConfig, database: str, in_clear: dict[str, str]
) -> None:
    opened = await Database.open(config.database, load_queries(PACKAGE), "test")
    store = SecretStore(opened)
    (old,) = await store.states_to_seal("1", "", 10)
    async with connected(database) as connection:
        await connection.execute(
            r"UPDATE request_manager.suspended_job_chains SET suspended_job_chain = '\x0a'"
        )
        late = SealedState(
            old.request_id, old.sealed_under, old.suspended_job_chain, "1", b"\0\1late"
        )

        assert await store.seal_states([late]) == set()

        query = "SELECT suspended_job_chain FROM request_manager.suspended_job_chains"
        assert await connection.fetchval(query) == b"\x0a"
    await opened.close()


async def test_a_state_that_an_earlier_version_stored_over_a_sealed_one_is_sealed(
    database: str, keys: Path, in_clear: dict[str, str]
) -> None:
    assert (await rotate(database, keys)).exit_code == 0
    async with connected(database) as connection:
        await connection.execute(
            "UPDATE request_manager.suspended_job_chains SET suspended_job_chain = $1",
            b"\x0a\x02r1" + PASSWORD.encode(),
        )

        result = await rotate(database, keys)

        assert "sealed 0 requests and 1 saved states" in result.output
        await assert_sealed(connection)


async def test_a_rotation_without_a_file_says_what_to_set(database: str) -> None:
    result = await secrets("rotate", "--dsn", database)

    assert result.exit_code == 2
    assert "set SPINCYCLE_RM_SECRETS__KEY_FILE, or name the file by --key-file" in result.output
