"""A secret of a chain leaves a try through no channel."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable

import pytest
from tests.unit.chain.chains import chain
from tests.unit.job_runner.stage import Scripted, Stage, turns, works_until_stopped

from spincycle.job import Job, JobError, JobId, Return, State
from spincycle.job.try_output import STDERR, STDOUT
from spincycle.model.job_chain import JobChain, Value
from spincycle.model.job_status import JobEvent
from spincycle.model.request_arg import REDACTED
from spincycle.model.scrubber import Scrubber

SECRET = "hunter2/§cret"
ENCODED = b64encode(SECRET.encode()).decode()

COMPLETE, FAIL, RUNNING = State.COMPLETE, State.FAIL, State.RUNNING

Play = Callable[[Scripted, dict[str, Value]], object]


def secret_chain(type_of_b: str = "test") -> JobChain:
    """Return a chain of a and b, of which only a is given the secret."""
    given = {"args": {"password": SECRET, "host": "web1"}, "secret_args": ("password",)}
    return chain("a > b", jobs={"a": given, "b": {"type": type_of_b}})


async def run(stage: Stage, play: Play, job_id: str = "b") -> None:
    async def asynchronous(job: Scripted, data: dict[str, Value]) -> Return:
        return play(job, data)  # type: ignore[return-value] # a test may return nonsense

    stage.plays[job_id] = [asynchronous]
    await stage.run(secret_chain())


def said(stage: Stage) -> str:
    """Everything that left the runner."""
    return repr((stage.journal.entries, stage.reports.ends, stage.watcher.events))


def statuses(stage: Stage) -> list[str]:
    """The texts of the running jobs."""
    return [status.status for status in stage.runner.running()]


def made(job: Job, job_id: JobId) -> Job:
    job.id = job_id
    return job


def raises(error: BaseException) -> Play:
    def play(job: Scripted, data: dict[str, Value]) -> Return:
        raise error

    return play


@pytest.mark.parametrize("text", [SECRET, ENCODED])
@pytest.mark.parametrize(
    "play",
    [
        lambda text: lambda *_: Return(FAIL, error=f"login with {text} refused"),
        lambda text: lambda *_: Return(FAIL, stdout=f"+ login {text}"),
        lambda text: lambda *_: Return(COMPLETE, stderr=f"+ login {text}"),
        lambda text: lambda *_: Return(FAIL, stdout=f"+ login {text}".encode()),  # type: ignore[arg-type] # a job may
        lambda text: lambda *_: f"a return value that is only {text}",
        lambda text: lambda *_: Return(f"state {text}"),  # type: ignore[arg-type] # on purpose
        lambda text: lambda *_: Return(COMPLETE, exit=f"exit {text}"),  # type: ignore[arg-type] # likewise
        lambda text: raises(JobError(f"login with {text} refused")),
        lambda text: raises(ValueError(f"login with {text} refused")),
        lambda text: raises(SystemExit(f"login with {text} refused")),
        lambda text: raises(KeyError(text)),
        lambda text: lambda job, data: (data.update({text: {1, 2}}), Return(COMPLETE))[1],
    ],
)
async def test_what_a_try_returns_or_raises_has_no_secret_of_the_chain(
    stage: Stage, play: Callable[[str], Play], text: str
) -> None:
    await run(stage, play(text))

    assert text not in said(stage)
    assert REDACTED in said(stage)


async def test_the_reason_of_the_request_has_no_secret(stage: Stage) -> None:
    await run(stage, lambda *_: Return(FAIL, error=f"no {SECRET}"))

    assert stage.reports.ends["request"][0].reason == f"job b (b) failed: no {REDACTED}"


async def test_data_that_a_job_sets_reaches_its_successor_with_the_mark(stage: Stage) -> None:
    def sets(job: Scripted, data: dict[str, Value]) -> Return:
        data.update(url=f"https://u:{SECRET}@h", list=[{"n": 1, SECRET: ENCODED}])
        return Return(COMPLETE)

    await run(stage, sets, "a")

    assert stage.given["b"] == [
        {"url": f"https://u:{REDACTED}@h", "list": [{"n": 1, REDACTED: REDACTED}]}
    ]
    assert SECRET not in said(stage)


@pytest.mark.parametrize("size", [64 * 1024, 2 * 1024 * 1024])
async def test_no_part_of_a_secret_is_left_where_a_long_text_is_cut(
    stage: Stage, size: int
) -> None:
    text = (SECRET + "x") * (size // len(SECRET))

    await run(stage, lambda *_: Return(FAIL, error=text, stdout=text))

    entry = stage.journal.entries[-1]
    assert "bytes cut" in entry.error
    for kept in (entry.error, entry.stdout):
        rest = kept.replace(REDACTED, "")
        assert "hunt" not in rest
        assert "cret" not in rest


async def test_status_and_reports_have_no_secret(stage: Stage) -> None:
    async def reports(job: Scripted, data: dict[str, Value]) -> Return:
        job.report(f"logging in with {SECRET}", 10)
        await job.stop_requested.wait()
        return Return(COMPLETE)

    stage.plays["b"] = [reports]
    stage.runner.run(secret_chain(), 1)
    await stage.until_started("b")

    assert statuses(stage) == [f"logging in with {REDACTED}"]
    stage.runner.stop("request", "enough")
    await stage.reports.end()
    assert SECRET not in said(stage)


async def test_a_report_reaches_readers_of_events_without_the_secret(stage: Stage) -> None:
    texts: list[str] = []
    published = asyncio.Event()

    async def reports(job: Scripted, data: dict[str, Value]) -> Return:
        job.report(f"with {SECRET}")
        await published.wait()
        return Return(COMPLETE)

    def publish(event: JobEvent) -> None:
        if event.job.status:
            texts.append(event.job.status)
            published.set()

    stage.plays["b"] = [reports]
    stage.watcher.publish = publish  # type: ignore[method-assign] # to wait for an event
    await stage.run(secret_chain())

    assert set(texts) == {f"with {REDACTED}"}


async def test_the_error_of_a_status_has_no_secret(stage: Stage) -> None:
    class Silent(Scripted):
        def status(self) -> str:
            raise ValueError(f"no status with {SECRET}")

    stage.jobs.add("silent", lambda job_id: made(Silent(stage), job_id))
    stage.plays["b"] = [works_until_stopped]
    stage.runner.run(secret_chain("silent"), 1)
    await stage.until_started("b")

    assert statuses(stage) == [f"status failed: ValueError: no status with {REDACTED}"]
    stage.runner.stop("request", "enough")
    await stage.reports.end()


async def test_the_error_of_a_stop_has_no_secret(stage: Stage) -> None:
    class Stubborn(Scripted):
        async def stop(self) -> None:
            self.stop_requested.set()
            raise ValueError(f"cannot stop with {SECRET}")

    stage.jobs.add("stubborn", lambda job_id: made(Stubborn(stage), job_id))

    async def fails_when_stopped(job: Scripted, data: dict[str, Value]) -> Return:
        await job.stop_requested.wait()
        await turns()
        return Return(FAIL, error="stopped")

    stage.plays["b"] = [fails_when_stopped]
    stage.runner.run(secret_chain("stubborn"), 1)
    await stage.until_started("b")
    stage.runner.stop("request", "enough")
    await stage.reports.end()

    assert stage.journal.errors("b") == [
        f"stopped; stop failed: ValueError: cannot stop with {REDACTED}"
    ]


async def test_a_job_that_cannot_be_restored_names_no_secret(stage: Stage) -> None:
    def make(job_id: JobId) -> Job:
        raise ValueError(f"cannot read {SECRET}")

    stage.jobs.add("broken", make)

    await stage.run(secret_chain("broken"))

    assert stage.journal.errors("b") == [f"problem creating job runner: cannot read {REDACTED}"]


async def test_an_internal_error_names_no_secret(stage: Stage) -> None:
    def publish(event: object) -> None:
        raise RuntimeError(f"cannot publish {SECRET}")

    stage.watcher.publish = publish  # type: ignore[method-assign] # an internal error
    report = await stage.run(secret_chain())

    assert report.reason == f"internal error: RuntimeError: cannot publish {REDACTED}"


async def test_live_output_has_no_secret_that_is_printed_in_pieces(stage: Stage) -> None:
    shown = []

    async def prints(job: Scripted, data: dict[str, Value]) -> Return:
        for character in f"with {SECRET}, {ENCODED}.\n":
            job.prints(stdout=character)
        job.prints(stderr=f"+ {SECRET}\n")
        assert job.output is not None
        shown.append((job.output.after(STDOUT, 0), job.output.after(STDERR, 0)))
        return Return(COMPLETE)

    stage.plays["b"] = [prints]
    await stage.run(secret_chain())

    assert shown == [
        ((0, f"with {REDACTED}, {REDACTED}.\n".encode()), (0, f"+ {REDACTED}\n".encode()))
    ]


async def test_a_chain_without_secrets_has_no_scrubber(stage: Stage) -> None:
    async def play(job: Scripted, data: dict[str, Value]) -> Return:
        return Return(FAIL, error=SECRET)

    without = chain("a > b", jobs={"a": {"args": {"password": SECRET}}})
    stage.plays["b"] = [play]
    await stage.run(without)

    assert Scrubber.of_jobs(without.jobs.values()) is None
    assert stage.journal.errors("b") == [SECRET]


async def test_a_log_line_with_the_traceback_of_a_job_has_no_secret(stage: Stage) -> None:
    await run(stage, lambda *_: Return(COMPLETE))
    kept = secret_chain()
    log = stage.environment.log_scrubber
    stage.plays["b"] = [works_until_stopped]
    stage.runner.run(kept, 2)
    await turns()

    def line(**fields: object) -> dict[str, object]:
        error = ValueError(f"no {SECRET}")
        return dict(log(None, "error", {"event": "failed", "exc_info": error, **fields}))

    written = line(cause=[f"{ENCODED} refused"], jobs=3, request_id="request")
    assert SECRET not in str(written)
    assert ENCODED not in str(written)
    assert "ValueError: no (secret)" in str(written["exception"])
    assert written["jobs"] == 3
    from_library = log(None, "error", {"event": f"task {SECRET} failed", "library": True})
    assert from_library["event"] == "task (secret) failed"
    stage.runner.stop("request", "enough")
    await turns()
