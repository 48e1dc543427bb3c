"""A failure in one chain does not affect the others."""

from __future__ import annotations

import asyncio

import pytest
from tests.unit.chain.chains import chain
from tests.unit.job_runner.stage import Scripted, Stage, returns, turns, works_until_stopped

from spincycle.errors import EntryConflict, RemoteError, SpinCycleError, StaleEpoch
from spincycle.job import DataNotSet, Job, JobId, Return, State
from spincycle.model.job_chain import Value

COMPLETE, FAIL = State.COMPLETE, State.FAIL


def raising(error: BaseException) -> object:
    async def play(job: Scripted, data: dict[str, Value]) -> Return:
        raise error

    return play


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ValueError("boom"), "panic from job.Run: ValueError: boom"),
        (SystemExit(3), "panic from job.Run: SystemExit: 3"),
        (KeyboardInterrupt(), "panic from job.Run: KeyboardInterrupt: "),
        (asyncio.CancelledError("me"), "panic from job.Run: CancelledError: me"),
        (DataNotSet("host"), "host not set in job data"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
async def test_a_job_that_raises_has_failed_and_is_tried_again(
    stage: Stage, error: BaseException, says: str
) -> None:
    stage.plays["a"] = [raising(error), returns(COMPLETE)]  # type: ignore[list-item] # a play like any other

    report = await stage.run(chain("a", jobs={"a": {"retry": 1}}))

    assert report.state is COMPLETE
    failed = stage.journal.entries[0]
    assert (failed.state, failed.exit, failed.error) == (FAIL, 1, says)
    assert failed.started_at > 0


async def test_a_panic_stores_its_traceback_in_stderr(stage: Stage) -> None:
    stage.plays["a"] = [raising(ValueError("boom"))]  # type: ignore[list-item] # a play like any other

    await stage.run(chain("a"))

    assert "in play" in stage.journal.entries[0].stderr


async def test_a_job_of_an_unknown_type_fails_without_being_started(stage: Stage) -> None:
    report = await stage.run(chain("a > b", jobs={"a": {"type": "drain"}}))

    assert report.state is FAIL
    (entry,) = stage.journal.entries
    assert (entry.try_, entry.started_at, entry.finished_at, entry.exit) == (1, 0, 0, 1)
    assert entry.error == 'problem creating job runner: unknown job type "drain"'


@pytest.mark.parametrize("error", [ValueError("bad bytes"), SystemExit(1)])
async def test_a_job_that_cannot_be_restored_fails_without_being_started(
    stage: Stage, error: BaseException
) -> None:
    class Brittle(Scripted):
        def deserialize(self, data: bytes) -> None:
            raise error

    def make(job_id: JobId) -> Job:
        job = Brittle(stage)
        job.id = job_id
        return job

    stage.jobs.add("brittle", make)

    report = await stage.run(chain("a", jobs={"a": {"type": "brittle", "retry": 1}}))

    assert report.state is FAIL
    assert [entry.try_ for entry in stage.journal.entries] == [1, 2]
    assert stage.journal.errors("a")[0] == f"problem creating job runner: {error}"


async def test_a_status_that_raises_is_only_a_status(stage: Stage) -> None:
    async def breaks_its_status(job: Scripted, data: dict[str, Value]) -> Return:
        job.status = None  # type: ignore[method-assign,assignment] # so that it raises
        await job.stop_requested.wait()
        return Return(COMPLETE)

    stage.plays["a"] = [breaks_its_status]
    stage.runner.run(chain("a"), 1)
    await stage.until_started("a")

    (status,) = stage.runner.running()

    assert status.status.startswith("status failed: TypeError")
    assert status.state is State.RUNNING


async def test_an_internal_error_ends_only_that_chain(stage: Stage) -> None:
    stage.plays["a"] = [works_until_stopped]
    stage.runner.run(chain("a > b", request_id="broken"), 1)
    stage.runner.run(chain("a > b", request_id="sound"), 1)
    await turns()
    stage.watcher.broken_for = "broken"

    stage.runner.suspend("broken")
    stage.runner.stop("sound", "")

    broken = await stage.reports.end("broken")
    assert broken.state is FAIL
    assert broken.reason == "internal error: RuntimeError: this cannot happen"
    assert (await stage.reports.end("sound")).state is State.STOPPED
    assert stage.runner.chains == stage.runner.jobs == 0


async def test_dependents_wait_for_the_journal_and_running_jobs_do_not(stage: Stage) -> None:
    hold = asyncio.Event()

    async def held(job: Scripted, data: dict[str, Value]) -> Return:
        await hold.wait()
        return Return(COMPLETE)

    stage.plays["b"] = [held]
    stage.runner.run(chain("A > b c > d > e"), 1)
    await turns()
    stage.journal.disconnected = True
    hold.set()
    await turns()
    assert stage.journal.log("b") == [("b", 1, COMPLETE)]
    assert "d" not in stage.runs

    stage.journal.reconnect()

    assert (await stage.reports.end()).state is COMPLETE


async def test_a_structural_job_waits_for_no_commit_of_its_own(stage: Stage) -> None:
    stage.journal.disconnected = True
    stage.runner.run(chain("A > B > c > D"), 1)
    await turns()

    assert stage.runs == ["c"]
    # The end does nothing; its completion counts only once its parents are committed.
    assert stage.journal.log() == [(name, 1, COMPLETE) for name in "ABcD"]
    assert not stage.reports.ends

    stage.journal.reconnect()
    assert (await stage.reports.end()).state is COMPLETE


async def test_a_job_that_runs_at_most_once_waits_for_every_commit(stage: Stage) -> None:
    stage.journal.disconnected = True
    stage.runner.run(chain("A > b", jobs={"b": {"fail_if_interrupted": True}}), 1)
    await turns()
    assert stage.runs == []

    stage.journal.reconnect()

    assert (await stage.reports.end()).state is COMPLETE


async def test_a_retry_waits_until_its_failure_is_committed(stage: Stage) -> None:
    stage.plays["a"] = [returns(FAIL)]
    stage.journal.disconnected = True
    stage.runner.run(chain("a", jobs={"a": {"retry": 100}}), 1)
    await turns()

    assert len(stage.journal.entries) == 1


@pytest.mark.parametrize(
    "refusal",
    [
        StaleEpoch("request", 1, 2),
        RemoteError("may not append", "request", "NOT_YOURS", "PERMISSION_DENIED"),
    ],
)
async def test_a_fenced_chain_stops_its_jobs_and_reports_nothing(
    stage: Stage, refusal: SpinCycleError
) -> None:
    hold = asyncio.Event()

    async def held(job: Scripted, data: dict[str, Value]) -> Return:
        await hold.wait()
        return Return(COMPLETE)

    stage.plays |= {"b": [works_until_stopped], "c": [held]}
    stage.runner.run(chain("a > b c > d"), 1)
    await stage.until_started("b", "c")
    stage.journal.error["request"] = refusal
    hold.set()
    await turns()

    assert stage.stopped == ["b"]
    assert stage.runner.chains == stage.runner.jobs == 0
    assert not stage.reports.ends
    assert not stage.reports.saved


async def test_an_entry_that_can_never_be_stored_ends_the_chain(stage: Stage) -> None:
    refusal = stage.journal.error["request"] = EntryConflict("request", "a", 1)

    report = await stage.run(chain("a > b"))

    assert report.state is FAIL
    assert report.reason == f"the job log refused a journal entry: {refusal}"
