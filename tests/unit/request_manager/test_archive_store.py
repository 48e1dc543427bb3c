from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from asyncpg import Range

from spincycle.model.job_chain import SuspendedPeriod
from spincycle.request_manager.storage.archive_store import ArchiveStore
from spincycle.request_manager.storage.secret_columns import SecretColumns
from spincycle.sealing.secret_sealer import SecretSealer


class Saved:
    """A database with the saved states of two requests, one of which had been suspended."""

    async def fetch(self, query: str, **parameters: Any) -> list[dict[str, Any]]:
        period = Range(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 0, 1, 500, UTC))
        return [
            {"request_id": "r1", "suspended_job_chain": b"one", "suspended_periods": [period]},
            {"request_id": "r2", "suspended_job_chain": b"two", "suspended_periods": None},
        ]


async def test_periods_stand_before_a_saved_state_so_that_missing_bytes_of_it_are_noticed() -> None:
    database: Any = Saved()
    encoded: list[SuspendedPeriod] = []

    def encode(periods: Any) -> bytes:
        encoded.extend(periods)
        return b"periods,"

    store = ArchiveStore(database, encode, SecretColumns(SecretSealer(None, plaintext=True)))

    portions = [portion async for portion in store.suspended_job_chains(["r1", "r2"])]

    assert portions == [{"r1": b"periods,one", "r2": b"two"}]
    start = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000_000
    assert encoded == [SuspendedPeriod(start, start + 1_000_500_000)]
