"""`spincycle keys init`, `spincycle audit verify` and `spincycle prune --audit-older-than`."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.integration.request_manager.sealed_log import SealedLog, open_log

from spincycle.admin.main import main


@pytest.fixture
async def log(database: str, tmp_path: Path) -> AsyncIterator[SealedLog]:
    async with open_log(database, tmp_path / "keys") as log:
        yield log


async def run(*words: object) -> Result:
    """Run `spincycle` in a thread, since it has an event loop of its own."""
    return await asyncio.to_thread(CliRunner().invoke, main, [str(word) for word in words])


async def verify(log: SealedLog, dsn: str, *more: str) -> Result:
    return await run("audit", "verify", "--dsn", dsn, "--public-key", log.keys / "audit.pub", *more)


async def age(log: SealedLog, seals: int, interval: str) -> None:
    """Make the first seals older, as if they had been made then."""
    await log.connection.execute(
        "UPDATE request_manager.audit_seals SET sealed_at = sealed_at - $2::text::interval"
        " WHERE number <= $1",
        seals,
        interval,
    )


async def test_a_verification_prints_what_is_sealed_and_the_head(
    log: SealedLog, database: str
) -> None:
    await log.sealed("r1", "r2")
    await log.add("r3")

    result = await verify(log, database)

    head = (await log.verify()).head.hex()
    assert result.exit_code == 0, result.output
    assert "2 entries in 2 seals are as they were sealed" in result.output
    assert f"last seal 2, head {head}, signed up to seal 2" in result.output
    assert "not sealed yet: 1 entries from 3 on" in result.output
    assert (await verify(log, database, "--head", head)).exit_code == 0
    assert (await verify(log, database, "--head", "0" * 64)).exit_code == 1


async def test_a_verification_names_the_first_changed_entry_and_fails(
    log: SealedLog, database: str
) -> None:
    await log.sealed("r1", "r2", "r3")
    await log.connection.execute("UPDATE request_manager.audit SET peer = '' WHERE audit_id = 2")

    result = await verify(log, database)

    assert result.exit_code == 1
    assert result.output.splitlines()[0] == "CHANGED: entry 2 was changed (seal 2)"


async def test_entries_that_wait_long_for_their_seal_have_an_exit_code(
    log: SealedLog, database: str
) -> None:
    await log.add("r1")
    await log.connection.execute("UPDATE request_manager.audit SET at = now() - interval '2 min'")

    assert (await verify(log, database)).exit_code == 3


async def test_a_verification_without_database_or_key_says_so(
    log: SealedLog, database: str, tmp_path: Path
) -> None:
    away = await run("audit", "verify", "--dsn", "postgresql://127.0.0.1:1/x")
    (tmp_path / "empty").touch()
    no_key = await run("audit", "verify", "--dsn", database, "--public-key", tmp_path / "empty")

    assert away.exit_code == no_key.exit_code == 2
    assert "error: not verified: " in away.output
    assert "has no public Ed25519 key" in no_key.output


async def test_a_key_pair_is_made_once_and_its_private_key_is_for_this_account(
    tmp_path: Path,
) -> None:
    made = await run("keys", "init", tmp_path / "new")
    key = (tmp_path / "new" / "audit.key").read_bytes()
    again = await run("keys", "init", tmp_path / "new")

    assert made.exit_code == 0, made.output
    assert stat.S_IMODE((tmp_path / "new" / "audit.key").stat().st_mode) == 0o600
    assert again.exit_code == 2
    assert "exists" in again.output
    assert (tmp_path / "new" / "audit.key").read_bytes() == key


async def test_old_entries_are_deleted_by_whole_seals_and_a_verification_accepts_that(
    log: SealedLog, database: str
) -> None:
    await log.sealed("r1", "r2", "r3")
    await log.add("r4")
    deleted_head = await log.connection.fetchval(
        "SELECT head FROM request_manager.audit_seals WHERE number = 2"
    )
    await age(log, 2, "800 days")

    dry = await run("prune", "--dsn", database, "--audit-older-than", "730d", "--dry-run")
    deleted = await run("prune", "--dsn", database, "--audit-older-than", "730d")
    await log.sealer.seal()

    assert dry.output.startswith("2 audit entries were sealed before ")
    assert deleted.output.startswith("deleted 2 audit entries that were sealed before ")
    rows = await log.connection.fetch(
        "SELECT request_id, reason FROM request_manager.audit ORDER BY audit_id"
    )
    assert [row["request_id"] for row in rows] == ["r3", "r4", ""]
    assert rows[-1]["reason"] == (
        f"2 entries deleted, up to seal 2 with the head {deleted_head.hex()}"
    )
    result = await log.verify()
    assert (result.problems, result.deleted_up_to, result.entries) == ([], 2, 3)
    again = await run("prune", "--dsn", database, "--audit-older-than", "730d")
    assert again.output.startswith("deleted 0 audit entries")


async def test_the_last_seal_and_entries_without_one_are_never_deleted(
    log: SealedLog, database: str
) -> None:
    await log.sealed("r1", "r2")
    await log.add("r3")
    await log.connection.execute("UPDATE request_manager.audit SET at = '2000-01-01'")
    await age(log, 2, "800 days")

    await run("prune", "--dsn", database, "--audit-older-than", "730d")

    rows = await log.connection.fetch("SELECT request_id FROM request_manager.audit ORDER BY at")
    assert {row[0] for row in rows} == {"r2", "r3", ""}


async def test_a_deletion_of_the_beginning_without_a_record_is_found(log: SealedLog) -> None:
    await log.sealed("r1", "r2", "r3")
    await log.connection.execute("DELETE FROM request_manager.audit WHERE audit_id = 1")
    await log.connection.execute("DELETE FROM request_manager.audit_seals WHERE number = 1")

    assert (await log.problems())[0].startswith("the seals before number 2 are missing")
