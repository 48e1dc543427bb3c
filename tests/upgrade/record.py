"""Records a database of an old version: every state that a request can be in, at one moment.

The database is made by the services of the version that is to be upgraded. To record it again,
run this in a checkout of that version (the dump that is committed comes from da93cb4):

    git worktree add ../old da93cb4
    cp -r tests/upgrade ../old/tests/
    cd ../old && make setup && .venv/bin/python -m tests.upgrade.record
    cp tests/upgrade/recorded/* ../<this checkout>/tests/upgrade/recorded/

In the end all processes are killed at once, the database included, as by a power cut. Then the
database is started once more, recovers, and is dumped.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.program_output import run_program

os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

import spincycle.runtime.polling  # noqa: F401 # as in the services, before gRPC is imported

# isort: split
import asyncpg
from tests.chaos.cluster import REPOSITORY, Cluster, Shape
from tests.chaos.home import running, temporary_home
from tests.upgrade.jobs import LARGE, LARGER
from tests.upgrade.marks import END, MARKS, START, Mark, read_marks
from tests.upgrade.recording import DUMP, JOBS, LIVE, SPECS, Expected, Recording
from tests.waiting import until

from spincycle.dev.postgres_binaries import choose_account, find_binaries
from spincycle.model.state import State
from spincycle.rpc.channel import open_channel
from spincycle.v1 import request_manager_service_pb2 as rpc
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub

TOKEN = "open-sesame-7781"
KEY = "deploy-of-2026-11"
WEB = ["web1", "web2", "web3", "web4"]
# Versions since those with Request.error refuse these numbers: to record one of them, create the
# requests with other numbers and store these in request_archives.args.
NUMBERS = {"number": LARGER, "numbers": [LARGE, {"limit": LARGER}], "extra": {"most": [LARGE]}}
LONG_REASON = "The wrong release. " + "x" * 5_000_000

_DEPLOY = ["prepare", "probe", "settle", *(f"patch:{host}" for host in WEB), "verify", "finish"]
_UNLOCK = ["knock", "open:vault1", "open:vault2", "close"]
STEPS = {
    "deploy": _DEPLOY,
    "unlock": _UNLOCK,
    "count": ["weigh", "add"],
    "lonely": ["before", "after"],
    "pay": ["reserve", "transfer"],
    "tour": [],
}
"""Every step of each type."""


class Recorder:
    """Creates requests, brings each into its state, and notes what is expected of it."""

    def __init__(self, cluster: Cluster, stub: RequestManagerServiceStub, marks: Path) -> None:
        self.expected: dict[str, Expected] = {}
        self._cluster = cluster
        self._stub = stub
        self._marks = marks

    async def create(
        self,
        name: str,
        type_: str,
        args: Mapping[str, Any] | None = None,
        *,
        final: State = State.COMPLETE,
        **fields: Any,
    ) -> str:
        """Create a request that ends in the state `final`, now or after the upgrade."""
        request = rpc.CreateRequest(type=type_, **fields)
        request.args.update(args or {})
        response = await self._stub.Create(request)
        self._note(name, type_, response.request.id, final, **fields)
        return response.request.id

    async def rerun(self, name: str, of: str, *, final: State = State.COMPLETE) -> str:
        """Run a recorded request again."""
        old = self.expected[of]
        response = await self._stub.Rerun(rpc.RerunRequest(request_id=old.request_id))
        self._note(name, old.type, response.request.id, final, rerun_of=old.request_id)
        return response.request.id

    async def skip(self, name: str, of: str, job: str) -> str:
        """Run a recorded request again without a job."""
        old = self.expected[of]
        (row,) = await self.fetch(
            "SELECT DISTINCT job_id FROM job_log.entries WHERE request_id = $1 AND name = $2",
            old.request_id,
            job,
        )
        response = await self._stub.Skip(
            rpc.SkipRequest(request_id=old.request_id, job_ids=[row["job_id"]], reason="by hand")
        )
        self._note(name, old.type, response.request.id, State.COMPLETE, rerun_of=old.request_id)
        return response.request.id

    async def stop(self, request_id: str, reason: str) -> None:
        """Stop a request and wait until it has stopped."""
        await self._stub.Stop(rpc.StopRequest(request_id=request_id, reason=reason))
        await self.until_state(request_id, State.STOPPED)

    async def suspend(self, request_id: str) -> None:
        """Suspend a request and wait until its state is saved."""
        call = rpc.SuspendRequest(request_id=request_id, reason="over the weekend")
        await self._stub.Suspend(call)
        await self.until_state(request_id, State.SUSPENDED)

    async def until_state(self, request_id: str, state: State) -> None:
        """Return when the database holds that state."""
        statement = "SELECT state FROM request_manager.requests WHERE request_id = $1"

        async def reached() -> bool:
            (row,) = await self.fetch(statement, request_id)
            return bool(row["state"] == state)

        await until(reached)

    async def until_held(self, request_id: str, *steps: str) -> None:
        """Return when just these steps run, and every other one that began is in the journal."""

        async def held() -> bool:
            marks = self.marks(request_id)
            entries = await self.fetch(
                "SELECT job_id FROM job_log.entries"
                # A rerun begins with copied entries, which have no epoch.
                " WHERE request_id = $1 AND type LIKE 'step%' AND epoch > 0",
                request_id,
            )
            began = [mark for mark in marks if mark.event == START]
            ended = [(mark.step, mark.try_number) for mark in marks if mark.event != START]
            runs = {mark.step for mark in began if (mark.step, mark.try_number) not in ended}
            return runs == set(steps) and len(entries) == len(ended)

        await until(held)

    async def cursor(self, request: rpc.WatchRequest) -> str:
        """Return the first cursor of a stream."""
        call = self._stub.Watch(request)
        async with asyncio.timeout(30):
            async for response in call:
                for cursor in (response.cursor, *(event.cursor for event in response.events)):
                    if cursor:
                        call.cancel()
                        return cursor
        raise AssertionError("the stream ended without a cursor")

    async def read_rest(self, name: str, *paths: str) -> None:
        """Note REST payloads of a request that has ended."""
        expected = self.expected[name]
        for path in paths:
            url = f"{self._cluster.gateway}/api/v1/requests/{expected.request_id}{path}"
            expected.rest[path] = json.loads(await asyncio.to_thread(_read, url))

    async def fetch(self, statement: str, *values: object) -> Sequence[asyncpg.Record]:
        """Run a statement."""
        connection = await self._cluster.connect()
        try:
            return await connection.fetch(statement, *values)
        finally:
            await connection.close()

    def marks(self, request_id: str) -> list[Mark]:
        """Marks of one request."""
        return [mark for mark in read_marks(self._marks) if mark.request_id == request_id]

    async def finish(self) -> dict[str, Expected]:
        """Return what is expected, completed from the database that is to be dumped."""
        completed = {}
        for name, expected in self.expected.items():
            (row,) = await self.fetch(
                "SELECT state, left(reason, 40) AS reason FROM request_manager.requests"
                " WHERE request_id = $1",
                expected.request_id,
            )
            state = State(row["state"]).name
            ran = self._completed(expected)
            goes_on = state in LIVE and expected.final == State.COMPLETE.name
            left = [step for step in STEPS[expected.type] if goes_on and step not in ran]
            if "probe" in left:
                left.append("probe")  # Its sequence is tried twice.
            tries = {mark.step: mark.try_number for mark in self.marks(expected.request_id)}
            entries = await self.fetch(
                "SELECT job_id, name, state, exit, error, stdout, stderr FROM job_log.entries"
                " WHERE request_id = $1 ORDER BY position",
                expected.request_id,
            )
            fields: dict[str, Any] = {
                "state": state,
                "ran": ran,
                "left": left,
                "tries": tries,
                "reason": "" if state in LIVE else row["reason"],
                "journal": [list(entry) for entry in entries],
            }
            completed[name] = _with(expected, fields)
        return completed

    def _completed(self, expected: Expected) -> list[str]:
        """Steps that completed, in the request itself or in the one that it runs again."""
        ids = {expected.request_id, expected.rerun_of}
        marks = [mark for mark in read_marks(self._marks) if mark.request_id in ids]
        return list(dict.fromkeys(mark.step for mark in marks if mark.event == END))

    def _note(self, name: str, type_: str, request_id: str, final: State, **fields: Any) -> None:
        known = {
            key: fields[key] for key in ("priority", "idempotency_key", "rerun_of") if key in fields
        }
        self.expected[name] = Expected(
            request_id,
            type_,
            state="",
            final=final.name,
            ran=[],
            left=[],
            large=type_ == "count",
            secret=type_ == "unlock",
            **known,
        )


def _with(expected: Expected, fields: Mapping[str, Any]) -> Expected:
    known = {name: getattr(expected, name) for name in Expected.__dataclass_fields__}
    return Expected(**{**known, **fields})


def _read(url: str) -> bytes:
    with urllib.request.urlopen(url) as response:
        content: bytes = response.read()
        return content


async def record_ended(recorder: Recorder) -> None:
    """Create the requests that end before the dump is made."""
    create, ended = recorder.create, recorder.until_state
    complete = await create("complete", "deploy", {"hosts": WEB}, priority=7, idempotency_key=KEY)
    await ended(complete, State.COMPLETE)
    tour = await create("tour", "tour", {"mode": "quick"})
    await ended(tour, State.COMPLETE)
    unlocked = await create("unlocked", "unlock", {"token": TOKEN})
    await ended(unlocked, State.COMPLETE)
    counted = await create("counted", "count", NUMBERS)
    await ended(counted, State.COMPLETE)

    failing = {"hosts": WEB, "fail_at": "verify"}
    failed = await create("failed", "deploy", failing, final=State.FAIL)
    await ended(failed, State.FAIL)
    failed_again = await recorder.rerun("failed again", "failed", final=State.FAIL)
    await ended(failed_again, State.FAIL)
    skipped = await recorder.skip("skipped", "failed", "verify")
    await ended(skipped, State.COMPLETE)

    held = {"hosts": WEB, "hold_at": "verify"}
    stopped = await create("stopped", "deploy", held, final=State.STOPPED)
    await recorder.until_held(stopped, "verify")
    await recorder.stop(stopped, "the wrong release")
    at_length = await create(
        "stopped at length", "pay", {"hold_at": "transfer"}, final=State.STOPPED
    )
    await recorder.until_held(at_length, "transfer")
    await recorder.stop(at_length, LONG_REASON)
    for name in ("complete", "unlocked", "tour"):
        await recorder.read_rest(name, "", "/log", "/job-chain")
    for name in ("failed", "failed again", "skipped", "stopped"):
        await recorder.read_rest(name, "", "/log")


async def record_live(recorder: Recorder, cluster: Cluster) -> tuple[str, str]:
    """Create the requests that have not ended, and return a cursor of all and one of one."""
    create = recorder.create
    held = {"hosts": WEB, "hold_at": "patch:web3,patch:web4"}
    suspended = await create("suspended", "deploy", held, priority=-3)
    await recorder.until_held(suspended, "patch:web3", "patch:web4")
    await recorder.suspend(suspended)
    named_cursor = await recorder.cursor(rpc.WatchRequest(request_ids=[suspended]))
    again = await recorder.rerun("suspended rerun", "stopped")
    await recorder.until_held(again, "verify")
    await recorder.suspend(again)
    locked = await create("suspended secret", "unlock", {"token": TOKEN, "hold_at": "open:vault2"})
    await recorder.until_held(locked, "open:vault2")
    await recorder.suspend(locked)
    watch = rpc.WatchRequest(requests_only=True)
    watch.filter.type = "deploy"
    cursor = await recorder.cursor(watch)

    running = await create("running", "deploy", {**held, "hold_at": "patch:web2"})
    repeating = await create("running sequence", "deploy", {**held, "hold_at": "settle"})
    counting = await create("running numbers", "count", {**NUMBERS, "hold_at": "add"})
    lonely = await create("running alone", "lonely", {"hold_at": "after"})
    paying = await create("paying", "pay", {"hold_at": "transfer"}, final=State.FAIL)
    await recorder.until_held(running, "patch:web2")
    await recorder.until_held(repeating, "settle")
    await recorder.until_held(counting, "add")
    await recorder.until_held(lonely, "after")
    await recorder.until_held(paying, "transfer")
    await create("pending behind a limit", "lonely", priority=9)

    for runner in cluster.job_runners:
        await runner.kill()
    pending = [
        await create("pending", "deploy", {"hosts": WEB}, priority=-100),
        await create("pending secret", "unlock", {"token": TOKEN}, priority=100),
        await create("pending numbers", "count", NUMBERS),
    ]

    async def is_free() -> bool:
        statement = "SELECT FROM request_manager.requests WHERE request_id = ANY ($1) AND state = 1"
        return len(await recorder.fetch(f"{statement} AND runner_id IS NULL", pending)) == 3

    await until(is_free)
    return cursor, named_cursor


async def kill(cluster: Cluster) -> None:
    """Kill everything but the runners, which are dead, and start the database again."""
    for member in (*cluster.request_managers, *cluster.job_logs, *cluster.gateways):
        member.send(signal.SIGKILL)
    os.kill(cluster.database.pid, signal.SIGKILL)
    await until(lambda: cluster.database.is_dead)
    await cluster.database.start()


async def dump(cluster: Cluster) -> None:
    """Write the database to the dump."""
    DUMP.parent.mkdir(exist_ok=True)
    program = find_binaries(choose_account(), cluster.home).directory / "pg_dump"
    options = ["--format=custom", "--compress=9", "--no-owner", "--no-privileges"]
    command: list[str | Path] = [program, *options, f"--file={DUMP}", cluster.database.dsn()]
    dumped = await run_program(command)
    assert dumped.returncode == 0, dumped.stderr


async def record() -> None:
    """Make the database and dump it."""
    jobs = json.dumps([JOBS])
    settings = {
        "RM": {"SPECS_DIR": str(SPECS), "JOBS": jobs},
        "JR": {"JOBS": jobs, "JOBS_ENVIRONMENT": json.dumps([MARKS])},
    }
    with temporary_home() as home:
        marks = home / "upgrade-marks"
        os.environ[MARKS] = str(marks)
        async with running(home, Shape(1, 1, 1, settings=settings)) as cluster:
            async with open_channel(cluster.request_manager) as channel:
                recorder = Recorder(cluster, RequestManagerServiceStub(channel), marks)
                await record_ended(recorder)
                cursor, named_cursor = await record_live(recorder, cluster)
            await kill(cluster)
            await dump(cluster)
            expected = await recorder.finish()
            (row,) = await recorder.fetch("SELECT pg_current_xact_id()::text::bigint AS next")
            commit = await asyncio.to_thread(
                subprocess.check_output, ["git", "rev-parse", "HEAD"], cwd=REPOSITORY, text=True
            )
            recording = Recording(
                commit.strip(), expected, cursor, named_cursor, row["next"], TOKEN
            )
            recording.write()
    sys.stdout.write(f"{len(expected)} requests, {DUMP.stat().st_size} bytes\n")


if __name__ == "__main__":
    asyncio.run(record())
