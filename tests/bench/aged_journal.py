"""A journal of many days: whether it is written and read as fast as one of the first day."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from tests.bench.http_client import HttpConnection
from tests.bench.limits import Echo
from tests.bench.load import ClosedLoop, Figures
from tests.bench.reads import Rate, beside, run_to_end
from tests.bench.shapes import Shape, chain
from tests.bench.stand import Stand

_ENTRIES_A_REQUEST = 100


@dataclass(frozen=True, slots=True)
class AgedJournal:
    """The same work before and after the journal was filled.

    Attributes:
        entries: what it was filled with.
        gigabytes: that these take, indexes included.
        logs: reading the log of a request of 100 jobs.
        chains: chains of 100 jobs, 8 in flight.
    """

    entries: int
    gigabytes: float
    logs: tuple[Rate, Rate]
    chains: tuple[Figures, Figures]


async def take_aged_journal(stand: Stand, entries: int, seconds: float) -> AgedJournal:
    """Work, fill the journal by COPY, and work again."""
    young = await _work(stand, seconds)
    await stand.connection.copy_to_table(
        "entries", schema_name="job_log", source=_old_entries(entries), timeout=1200
    )
    await stand.connection.execute("VACUUM ANALYZE job_log.entries", timeout=1200)
    size = await stand.connection.fetchval("SELECT pg_total_relation_size('job_log.entries')")
    old = await _work(stand, seconds)
    return AgedJournal(entries, size / 1e9, (young[0], old[0]), (young[1], old[1]))


async def _work(stand: Stand, seconds: float) -> tuple[Rate, Figures]:
    await ClosedLoop(stand, chain(100), 8, 16).run()
    chains = await ClosedLoop(stand, chain(100), 8, 80).run()
    connection = await HttpConnection.open(*stand.gateway)
    request_id = await run_to_end(connection, Shape("", "chain-100"))
    connection.close()
    async with Echo() as echo:
        log = await beside(echo, stand, f"/api/v1/requests/{request_id}/log", seconds)
    return log, chains


async def _old_entries(count: int) -> AsyncIterator[bytes]:
    """Rows in the text format of COPY, a request at a time."""
    rows = "".join(
        f"REQUEST\tj{number:03}\t1\t{number}\t1\t1000\t2000\t0\t1\t3\tf\tjob\tnoop\ts1\t\t\t\t\\N\n"
        for number in range(1, _ENTRIES_A_REQUEST + 1)
    )
    for number in range(count // _ENTRIES_A_REQUEST):
        yield rows.replace("REQUEST", f"bench{number:015}").encode()
