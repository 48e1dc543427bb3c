"""The recorded database, restored and brought to its end by the current version."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio
from tests.postgres_fixtures import PostgresServer, postgres
from tests.program_output import run_program
from tests.upgrade.marks import GATE, MARKS, Mark, read_marks
from tests.upgrade.recording import DUMP, JOBS, SPECS, Recording, read_recording
from tests.waiting import until

from spincycle.dev.postgres_binaries import choose_account, find_binaries
from spincycle.dev.services import FREE_PORTS, Content
from spincycle.dev.stack import Stack, StackConfig
from spincycle.model.state import State
from spincycle.rpc.channel import open_channel
from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1.job_log_service_pb2_grpc import JobLogServiceStub
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub

__all__ = ["postgres"]

REPOSITORY = Path(__file__).parents[3]

ENDED = [State.COMPLETE, State.FAIL, State.STOPPED]

RECORDED_JUST_NOW = """
WITH live AS (
    SELECT request_id FROM request_manager.requests WHERE finished_at IS NULL
), passed AS (
    SELECT (extract(epoch FROM now()) * 1e9)::bigint - max(finished_at) AS nanoseconds
      FROM job_log.entries
), entries AS (
    UPDATE job_log.entries
       SET started_at = started_at + nanoseconds, finished_at = finished_at + nanoseconds
      FROM passed
     WHERE started_at > 0 AND request_id IN (SELECT request_id FROM live)
)
UPDATE request_manager.requests
   SET started_at = started_at + make_interval(secs => nanoseconds / 1e9)
  FROM passed
 WHERE request_id IN (SELECT request_id FROM live)
"""
"""Shifts the times of requests that have not ended, as if the database had been dumped just now:
otherwise their timeouts would be over."""


class Upgraded:
    """The stack on the restored database, and clients of its services."""

    def __init__(
        self,
        stack: Stack,
        recording: Recording,
        marks_file: Path,
        requests: RequestManagerServiceStub,
        journal: JobLogServiceStub,
    ) -> None:
        self.recording = recording
        self.requests = requests
        self.journal = journal
        self.gateway = stack.gateway
        self._dsn = stack.dsn
        self.home = stack.home
        self._marks_file = marks_file

    def marks(self, request_id: str) -> list[Mark]:
        """Marks that a request's jobs left after the upgrade."""
        return [mark for mark in read_marks(self._marks_file) if mark.request_id == request_id]

    async def fetch(self, statement: str, *values: object) -> Sequence[asyncpg.Record]:
        """Run a statement."""
        connection = await asyncpg.connect(self._dsn)
        try:
            return await connection.fetch(statement, *values)
        finally:
            await connection.close()

    async def states(self, *names: str) -> dict[str, State]:
        """States of recorded requests, as they stand in the database."""
        name_of = {self.recording.requests[name].request_id: name for name in names}
        rows = await self.fetch(
            "SELECT request_id, state FROM request_manager.requests WHERE request_id = ANY ($1)",
            list(name_of),
        )
        return {name_of[row["request_id"]]: State(row["state"]) for row in rows}

    async def until_ended(self, *names: str) -> None:
        """Return when recorded requests have ended."""

        async def ended() -> bool:
            states = await self.states(*names)
            return all(state in ENDED for state in states.values())

        await until(ended)

    async def bring_to_the_end(self) -> None:
        """Let the other requests end by themselves, and then resume the suspended ones."""
        live = self.recording.live
        suspended = [name for name in live if live[name].state == "SUSPENDED"]
        await self.until_ended(*(name for name in live if name not in suspended))
        assert set((await self.states(*suspended)).values()) == {State.SUSPENDED}
        for name in suspended:
            await self.requests.Resume(rpc.ResumeRequest(request_id=live[name].request_id))
        await self.until_ended(*suspended)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def restored(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The address of a database that holds what was recorded."""
    recording = read_recording()
    dsn = postgres.embedded.dsn(await postgres.create_database())
    # The watch cursors name transactions, so the server has to be past those of the recording,
    # as it is where the database is upgraded in place.
    await postgres.execute(
        f"""
        DO $$ BEGIN
            WHILE pg_current_xact_id()::text::bigint < {recording.next_transaction} LOOP
                COMMIT;
            END LOOP;
        END $$
        """
    )
    home = tmp_path_factory.mktemp("programs")
    program = find_binaries(choose_account(), home).directory / "pg_restore"
    command: list[str | Path] = [program, "--exit-on-error", "--no-owner", f"--dbname={dsn}", DUMP]
    ended = await run_program(command)
    assert ended.returncode == 0, ended.stderr
    connection = await asyncpg.connect(dsn)
    await connection.execute(RECORDED_JUST_NOW)
    await connection.close()
    return dsn


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def upgraded(
    restored: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Upgraded]:
    """The current version on the recorded database, after all requests have ended."""
    marks_file = tmp_path_factory.mktemp("upgrade") / "marks"
    content = Content(SPECS, (JOBS,), (REPOSITORY,))
    config = StackConfig(content, ports=FREE_PORTS, postgres_dsn=restored, restarts=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MARKS, str(marks_file))
        patch.setenv(GATE, "open")
        patch.setenv("SPINCYCLE_JR_JOBS_ENVIRONMENT", json.dumps([MARKS, GATE]))
        async with (
            Stack(config, _show) as stack,
            open_channel(stack.request_manager) as manager,
            open_channel(stack.job_log) as job_log,
        ):
            upgraded = Upgraded(
                stack,
                read_recording(),
                marks_file,
                RequestManagerServiceStub(manager),
                JobLogServiceStub(job_log),
            )
            await upgraded.bring_to_the_end()
            yield upgraded


def _show(name: str, line: str) -> None:
    sys.stdout.write(f"{name}: {line}\n")
