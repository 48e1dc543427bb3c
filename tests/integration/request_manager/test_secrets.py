"""Secrets are sealed wherever a request manager stores them."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs
from tests.integration.request_manager.conftest import (
    Manager,
    ShelvedJobLog,
    another,
    running_manager,
    until,
)
from tests.integration.request_manager.refusal import reason
from tests.integration.request_manager.secret_requests import (
    FAIL,
    PASSWORD,
    RUNNING,
    SPECS,
    SUSPENDED,
    Keeper,
    assert_nowhere,
    assert_sealed,
    failed_login,
    key_of,
    keys_in,
    login,
    lose,
    password_of,
    row_of,
    store_as_earlier_versions_did,
    suspended,
)

from spincycle.identity import key_file
from spincycle.request_manager.config import RequestManagerConfig, SecretsConfig
from spincycle.request_manager.process import serve
from spincycle.request_manager.storage.secret_columns import chain_place
from spincycle.runtime.config import ConfigError
from spincycle.runtime.process import Shutdown
from spincycle.sealing.sealing_keys import SealingKeys
from spincycle.v1 import job_chain_pb2
from spincycle.v1 import request_manager_service_pb2 as rpc


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return keys_in(tmp_path / "sealing-keys", "1")


@pytest.fixture
def config(config: RequestManagerConfig, keys: Path) -> RequestManagerConfig:
    (config.specs_dir / "login.yaml").write_text(SPECS)
    return replace(config, secrets=SecretsConfig(key_file=keys))


def with_secrets(config: RequestManagerConfig, **secrets: Any) -> RequestManagerConfig:
    return replace(config, secrets=SecretsConfig(**secrets))


async def test_no_secret_is_in_the_database_whatever_happens_to_its_request(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    runner = await manager.register(Keeper("runner"))
    failed = await failed_login(manager, runner)
    kept = await login(manager, idempotency_key="once")
    await manager.until_state(kept, RUNNING)
    await suspended(manager, runner, kept)
    lost = await login(manager)
    await manager.until_state(lost, RUNNING)
    await lose(connection, lost)
    await until(lambda: lost in runner.resumed)
    for _ in range(2):
        rerun = await manager.stub.Rerun(rpc.RerunRequest(request_id=failed, allow_concurrent=True))
        await until(lambda rerun=rerun: rerun.request.id in runner.resumed)
        await manager.stub.Stop(rpc.StopRequest(request_id=rerun.request.id))
    plan = rpc.PlanRequest(type="login")
    plan.args.update({"ms": "1", "password": PASSWORD})
    await manager.stub.Plan(plan)

    await assert_sealed(connection)
    marks = await connection.fetch(
        "SELECT sealed_under FROM request_manager.request_archives"
        " UNION ALL SELECT sealed_under FROM request_manager.suspended_job_chains"
    )
    assert {row["sealed_under"] for row in marks} == {"1"}


async def test_saved_states_of_reruns_and_of_recovered_requests_are_sealed(
    config: RequestManagerConfig, job_log: tuple[ShelvedJobLog, str], database: str
) -> None:
    async with running_manager(config, job_log[0]) as manager:
        runner = await manager.register(Keeper("first"))
        failed = await failed_login(manager, runner)
        lost = await login(manager)
        await manager.until_state(lost, RUNNING)
    connection = await asyncpg.connect(database)
    await connection.execute("DELETE FROM request_manager.runners")
    # No runner takes them.
    async with running_manager(another(config), job_log[0]) as manager:
        await manager.stub.Rerun(rpc.RerunRequest(request_id=failed))
        await lose(connection, lost)
        await manager.until_state(lost, SUSPENDED)

        saved = await connection.fetch("SELECT * FROM request_manager.suspended_job_chains")
        assert [row["sealed_under"] for row in saved] == ["1", "1"]
        await assert_sealed(connection)
    await connection.close()


async def test_runners_receive_secrets_in_clear_in_new_resumed_recovered_and_rerun_requests(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    waiting = await login(manager)
    runner = await manager.register(Keeper("runner"))
    await manager.until_state(waiting, RUNNING)
    at_once = await login(manager)
    await manager.until_state(at_once, RUNNING)
    assert {password_of(runner.kept[one]) for one in (waiting, at_once)} == {PASSWORD}

    await suspended(manager, runner, at_once)
    await manager.stub.Resume(rpc.ResumeRequest(request_id=at_once))
    await until(lambda: at_once in runner.resumed)
    assert password_of(runner.resumed[at_once].job_chain) == PASSWORD

    await lose(connection, waiting)
    await until(lambda: waiting in runner.resumed)
    assert password_of(runner.resumed[waiting].job_chain) == PASSWORD

    failed = await failed_login(manager, runner)
    rerun = (await manager.stub.Rerun(rpc.RerunRequest(request_id=failed))).request.id
    await until(lambda: rerun in runner.resumed)
    assert password_of(runner.resumed[rerun].job_chain) == PASSWORD


async def test_a_request_without_secrets_is_stored_as_it_is(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    created = await manager.create(idempotency_key="once")

    row = await row_of(
        connection,
        "SELECT a.*, r.content_hash FROM request_manager.request_archives AS a"
        " JOIN request_manager.requests AS r USING (request_id) WHERE request_id = $1",
        created.request.id,
    )
    assert row["sealed_under"] is None
    chain = job_chain_pb2.JobChain.FromString(row["job_chain"])
    assert chain.request_id == created.request.id
    assert re.fullmatch("[0-9a-f]{64}", row["content_hash"])


async def test_an_idempotency_key_is_compared_by_its_sealed_hash(manager: Manager) -> None:
    first = await login(manager, idempotency_key="once")

    assert await login(manager, idempotency_key="once") == first
    other = rpc.CreateRequest(type="login", idempotency_key="once")
    other.args.update({"ms": "1", "password": "another"})
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await manager.stub.Create(other)
    assert reason(refused) == "IDEMPOTENCY_CONFLICT"


async def test_what_is_stored_is_shown_redacted_and_lists_find_no_secret(manager: Manager) -> None:
    request_id = await login(manager)

    got = (
        await manager.stub.Get(rpc.GetRequest(request_id=request_id, include_job_chain=True))
    ).request
    assert {arg.name: arg.value.string_value for arg in got.args} == {
        "ms": "1",
        "password": "(secret)",
        "token": "(secret)",
    }
    assert password_of(got.job_chain) == "(secret)"
    search = rpc.ListRequest()
    search.filter.args.update({"password": PASSWORD})
    assert not (await manager.stub.List(search)).requests


async def test_without_a_key_requests_with_secrets_are_refused(
    config: RequestManagerConfig, job_log: tuple[ShelvedJobLog, str], database: str
) -> None:
    async with running_manager(with_secrets(config), job_log[0]) as manager:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await login(manager)

        assert reason(refused) == "SECRETS_NOT_SEALED"
        assert "requests of type login have secret arguments" in str(refused.value.details())
        assert (await manager.create()).request.id
        plan = rpc.PlanRequest(type="login")
        plan.args.update({"ms": "1", "password": PASSWORD})
        assert (await manager.stub.Plan(plan)).plan.plan_hash
        connection = await asyncpg.connect(database)
        await assert_nowhere(connection)
        await connection.close()


async def test_plaintext_stores_secrets_in_clear_in_the_chain_only(
    config: RequestManagerConfig, job_log: tuple[ShelvedJobLog, str], database: str
) -> None:
    async with running_manager(with_secrets(config, plaintext=True), job_log[0]) as manager:
        request_id = await login(manager)

    connection = await asyncpg.connect(database)
    row = await row_of(
        connection,
        "SELECT * FROM request_manager.request_archives WHERE request_id = $1",
        request_id,
    )
    await connection.close()
    assert row["sealed_under"] == ""
    assert PASSWORD.encode() in row["job_chain"]
    assert PASSWORD not in row["args"] + row["create_request"]


@pytest.mark.parametrize("earlier_version", [False, True])
async def test_a_start_is_refused_while_secrets_are_in_clear_unless_it_is_allowed(
    config: RequestManagerConfig,
    job_log: tuple[ShelvedJobLog, str],
    database: str,
    keys: Path,
    earlier_version: bool,
) -> None:
    async with running_manager(with_secrets(config, plaintext=True), job_log[0]) as manager:
        await login(manager)
    if earlier_version:
        await store_as_earlier_versions_did(database)

    for secrets in (SecretsConfig(), SecretsConfig(key_file=keys)):
        with pytest.raises(ConfigError, match=r"secrets of 1 requests.*spincycle secrets rotate"):
            await serve(another(replace(config, secrets=secrets)), Shutdown())
    allowed = with_secrets(config, key_file=keys, allow_clear_rows=True)
    async with running_manager(another(allowed), job_log[0]) as manager:
        assert len((await manager.stub.List(rpc.ListRequest())).requests) == 1


@pytest.fixture
async def without_key(
    config: RequestManagerConfig,
    job_log: tuple[ShelvedJobLog, str],
    keys: Path,
    database: str,
) -> AsyncIterator[tuple[Manager, str, str]]:
    """A request manager that lacks the key of a new request and of one with a saved state."""
    config = replace(config, silence_limit=3600.0)
    async with running_manager(config, job_log[0]) as manager:
        runner = await manager.register(Keeper("first"))
        saved = await login(manager)
        await manager.until_state(saved, RUNNING)
        await suspended(manager, runner, saved)
        new = await login(manager, idempotency_key="once")
    connection = await asyncpg.connect(database)
    await connection.execute("DELETE FROM request_manager.runners")
    await connection.execute(
        "UPDATE request_manager.requests SET state = 1, runner_id = NULL, epoch = 0,"
        " claimed_until = NULL WHERE request_id = $1",
        new,
    )
    await connection.close()
    keys_in(keys, "2")
    async with running_manager(another(config), job_log[0]) as manager:
        yield manager, new, saved


async def test_a_missing_key_is_named_by_every_call_that_needs_it_and_lists_work(
    without_key: tuple[Manager, str, str],
) -> None:
    manager, new, saved = without_key
    stub = manager.stub
    calls: list[Awaitable[Any]] = [
        stub.Get(rpc.GetRequest(request_id=new, include_job_chain=True)),
        stub.GetJobChain(rpc.GetJobChainRequest(request_id=saved)),
        login(manager, idempotency_key="once"),
    ]

    for call in calls:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call
        assert reason(refused) == "REQUEST_UNREADABLE"
        assert 'sealed under the key "1"' in str(refused.value.details())
    listed = (await stub.List(rpc.ListRequest())).requests
    assert {one.id for one in listed} == {new, saved}
    assert not any(one.HasField("error") for one in listed)
    assert len((await stub.Get(rpc.GetRequest(request_id=new))).request.args) == 3
    explained = await stub.Explain(rpc.ExplainRequest(request_id=new))
    assert 'sealed under the key "1"' in explained.message
    assert (await manager.create()).request.id


@pytest.mark.slow
async def test_requests_whose_key_is_missing_wait_for_it_and_delay_no_others(
    without_key: tuple[Manager, str, str],
    keys: Path,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(key_file, "CHECK_INTERVAL", 0.01)
    manager, new, saved = without_key
    # Its archive can be read, and must not be run from its start for want of its saved state.
    await seal_archive_under(database, saved, "2")
    await manager.stub.Resume(rpc.ResumeRequest(request_id=saved))
    runner = await manager.register(Keeper("second"))
    other = (await manager.create()).request.id
    await until(lambda: other in runner.chains)
    assert not {new, saved} & {*runner.chains}

    keys_in(keys, "2", "1")

    await until(lambda: saved in runner.resumed and new in runner.kept)
    assert saved not in runner.kept
    assert password_of(runner.resumed[saved].job_chain) == PASSWORD
    assert password_of(runner.kept[new]) == PASSWORD


async def seal_archive_under(database: str, request_id: str, key_id: str) -> None:
    """Seal the archive of a request, which is sealed under key 1, under another key."""
    place = chain_place(request_id)
    connection = await asyncpg.connect(database)
    chain = await connection.fetchval(
        "SELECT job_chain FROM request_manager.request_archives WHERE request_id = $1", request_id
    )
    opened = SealingKeys({"1": key_of("1")}).open(place, chain)
    await connection.execute(
        "UPDATE request_manager.request_archives SET job_chain = $2, sealed_under = $3"
        " WHERE request_id = $1",
        request_id,
        SealingKeys({key_id: key_of(key_id)}).seal(place, opened),
        key_id,
    )
    await connection.close()


async def test_a_lost_request_whose_key_is_missing_is_recovered_once_the_key_is_back(
    without_key: tuple[Manager, str, str],
    keys: Path,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(key_file, "CHECK_INTERVAL", 0.01)
    manager, new, _ = without_key
    connection = await asyncpg.connect(database)
    with capture_logs() as logs:
        await lose(connection, new)
        await until(lambda: any(log["event"] == "cannot rebuild yet" for log in logs))
    assert await manager.state(new) == RUNNING

    keys_in(keys, "1")

    await manager.until_state(new, SUSPENDED)
    await connection.close()


async def test_a_sealed_chain_of_another_request_is_damage_and_its_request_fails(
    manager: Manager, connection: asyncpg.Connection
) -> None:
    moved, source = await login(manager), await login(manager)
    await connection.execute(
        "UPDATE request_manager.request_archives SET job_chain ="
        " (SELECT job_chain FROM request_manager.request_archives WHERE request_id = $2)"
        " WHERE request_id = $1",
        moved,
        source,
    )
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await manager.stub.GetJobChain(rpc.GetJobChainRequest(request_id=moved))
    assert reason(refused) == "REQUEST_UNREADABLE"
    assert "sealed for another request" in str(refused.value.details())
    await lose(connection, moved)

    await manager.until_state(moved, FAIL)
