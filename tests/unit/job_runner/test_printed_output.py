"""What a job prints, however it runs and ends, is stored in the journal entry of its try."""

from __future__ import annotations

import asyncio
import io
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress

import pytest
from structlog.testing import capture_logs
from tests.unit.chain.chains import chain
from tests.unit.job_runner.stage import Scripted, Stage, turns

from spincycle.job import Job, JobError, JobId, Progress, Return, State
from spincycle.job.bounded_output import OUTPUT_LIMIT
from spincycle.job.current_job import CURRENT_JOB, CURRENT_OUTPUT
from spincycle.job.try_output import STDERR, STDOUT
from spincycle.job_runner.standard_streams import JobStream
from spincycle.job_runner.try_environment import StopPolicy
from spincycle.job_runner.try_execution import TryExecution
from spincycle.model.job_chain import Value
from spincycle.model.journal_entry import JournalEntry

COMPLETE, FAIL, STOPPED = State.COMPLETE, State.FAIL, State.STOPPED

Data = dict[str, Value]


# Not a fixture: pytest sets sys.stdout between the setup of a test and its call.
@contextmanager
def printing() -> Iterator[io.StringIO]:
    """Attribute what is printed; yield what reaches the process."""
    process = io.StringIO()
    with redirect_stdout(JobStream(process, STDOUT)), redirect_stderr(JobStream(process, STDERR)):
        yield process


def say(name: str = "job") -> None:
    print(f"{name} out")
    print(f"{name} err", file=sys.stderr)


async def says(job: Scripted, data: Data) -> Return:
    say()
    return Return(COMPLETE)


async def says_and_waits(job: Scripted, data: Data) -> Return:
    say()
    await job.stop_requested.wait()
    say("stopped")
    return Return(STOPPED)


async def says_and_hangs(job: Scripted, data: Data) -> Return:
    say()
    await asyncio.Event().wait()
    return Return(COMPLETE)


async def says_and_stays(job: Scripted, data: Data) -> Return:
    say()
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    await asyncio.Event().wait()
    return Return(COMPLETE)


class OnThread(Job):
    def run(self, data: Data) -> Return:
        say()
        return Return(COMPLETE)


class Immediate(OnThread):
    immediate = True


class ReturnsAwaitable(Job):
    def run(self, data: Data) -> Return:
        return self._run()  # type: ignore[return-value] # what an author may write

    async def _run(self) -> Return:
        say()
        return Return(COMPLETE)


def add(stage: Stage, kind: type[Job]) -> None:
    def make(job_id: JobId) -> Job:
        job = kind()
        job.id = job_id
        return job

    stage.jobs.add("said", make)


def printed(stage: Stage, job_id: str) -> list[tuple[str, str]]:
    return [(each.stdout, each.stderr) for each in entries(stage, job_id)]


def entries(stage: Stage, job_id: str) -> list[JournalEntry]:
    return [entry for entry in stage.journal.entries if entry.job_id == job_id]


async def test_a_coroutine_prints_into_its_entry(stage: Stage) -> None:
    stage.plays["b"] = [says]
    with printing() as process:
        await stage.run(chain("A > b > C"))

    assert printed(stage, "b") == [("job out\n", "job err\n")]
    assert process.getvalue() == ""


@pytest.mark.parametrize("kind", [OnThread, Immediate, ReturnsAwaitable])
async def test_a_job_of_each_kind_prints_into_its_entry(stage: Stage, kind: type[Job]) -> None:
    add(stage, kind)
    with printing() as process:
        await stage.run(chain("A > b > C", jobs={"b": {"type": "said"}}))

    assert printed(stage, "b") == [("job out\n", "job err\n")]
    assert process.getvalue() == ""


async def test_tasks_and_threads_of_a_job_print_into_its_entry(stage: Stage) -> None:
    async def play(job: Scripted, data: Data) -> Return:
        async def child() -> None:
            print("task")

        await asyncio.create_task(child())
        await asyncio.to_thread(print, "thread")
        thread = threading.Thread(target=job.prints, args=("own thread\n",))
        thread.start()
        thread.join()
        sys.stdout.buffer.write(b"\xff\n")
        job.prints("last", b"\xff")
        return Return(COMPLETE)

    stage.plays["b"] = [play]
    with printing():
        await stage.run(chain("A > b > C"))

    assert printed(stage, "b") == [("task\nthread\nown thread\n\ufffd\nlast", "\ufffd")]


async def test_jobs_that_print_at_once_do_not_mix(stage: Stage) -> None:
    async def play(job: Scripted, data: Data) -> Return:
        for number in range(20):
            print(job.id.id, end=" ")
            await asyncio.sleep(0)
            await asyncio.to_thread(print, number)
        return Return(COMPLETE)

    stage.plays = {name: [play] for name in ("b", "c", "d")}
    with printing():
        await stage.run(chain("A > b c d > E"))

    for name in ("b", "c", "d"):
        [(out, _)] = printed(stage, name)
        assert out == "".join(f"{name} {number}\n" for number in range(20))


async def test_of_much_output_head_and_tail_are_stored(stage: Stage) -> None:
    async def play(job: Scripted, data: Data) -> Return:
        print("first", "x" * 1_000_000, "last", end="")
        job.prints(stderr=b"\xff" * 1_000_000)
        return Return(COMPLETE)

    stage.plays["b"] = [play]
    with printing():
        await stage.run(chain("A > b > C"))

    [(out, err)] = printed(stage, "b")
    assert out.startswith("first x")
    assert out.endswith("x last")
    assert out.count("bytes cut") == 1
    assert len(out) < OUTPUT_LIMIT + 100
    assert len(err.encode()) < OUTPUT_LIMIT + 200


async def test_the_text_of_the_return_is_stored_in_place_of_what_was_printed(
    stage: Stage,
) -> None:
    async def play(job: Scripted, data: Data) -> Return:
        say()
        return Return(COMPLETE, stdout="returned")

    stage.plays["b"] = [play]
    with printing():
        await stage.run(chain("A > b > C"))

    assert printed(stage, "b") == [("returned", "job err\n")]


async def test_a_traceback_follows_what_was_printed(stage: Stage) -> None:
    async def play(job: Scripted, data: Data) -> Return:
        print("no end of line", end="", file=sys.stderr)
        raise ValueError("boom")

    async def refused(job: Scripted, data: Data) -> Return:
        say()
        raise JobError("refused")

    stage.plays = {"b": [play], "c": [refused]}
    with printing():
        await stage.run(chain("A > b c > D"))

    [(_, err)] = printed(stage, "b")
    assert err.startswith("no end of line\nTraceback (most recent call last):\n")
    assert err.endswith("ValueError: boom\n")
    assert printed(stage, "c") == [("job out\n", "job err\n")]


async def test_an_invalid_result_keeps_what_was_printed(stage: Stage) -> None:
    async def play(job: Scripted, data: Data) -> Return:
        say()
        return None  # type: ignore[return-value] # what a job may do

    stage.plays["b"] = [play]
    with printing():
        await stage.run(chain("A > b > C"))

    assert printed(stage, "b") == [("job out\n", "job err\n")]


@pytest.mark.parametrize(
    ("play", "error"),
    [(says_and_hangs, "was cancelled"), (says_and_stays, "was abandoned")],
)
async def test_a_try_that_does_not_stop_keeps_what_it_printed(
    stage: Stage, play: Callable[..., Awaitable[Return]], error: str
) -> None:
    stage.policy = StopPolicy(0, 0.01)
    stage.open()
    stage.plays["b"] = [play]
    with printing():
        stage.runner.run(chain("A > b > C"), 1)
        await stage.until_started("b")
        stage.runner.stop("request", "")
        await stage.reports.end()

    [entry] = entries(stage, "b")
    assert error in entry.error
    assert (entry.stdout, entry.stderr) == ("job out\n", "job err\n")


async def test_a_try_over_its_time_keeps_what_it_printed(stage: Stage) -> None:
    stage.plays["b"] = [says_and_waits]
    with printing():
        await stage.run(chain("A > b > C", jobs={"b": {"timeout": 0.01}}))

    assert printed(stage, "b") == [("job out\nstopped out\n", "job err\nstopped err\n")]


async def test_a_try_that_a_suspension_interrupts_keeps_what_it_printed(stage: Stage) -> None:
    stage.plays["b"] = [says_and_waits]
    with printing():
        stage.runner.run(chain("A > b > C"), 1)
        await stage.until_started("b")
        stage.runner.suspend("request")
        await stage.reports.save()

    assert printed(stage, "b") == [("job out\nstopped out\n", "job err\nstopped err\n")]


@pytest.mark.parametrize("is_coroutine", [True, False])
async def test_what_stop_prints_is_in_the_entry(stage: Stage, *, is_coroutine: bool) -> None:
    class Stopping(Scripted):
        def stop(self) -> None:  # type: ignore[override] # both are allowed
            say("stop")
            self.stop_requested.set()

    class StoppingLater(Scripted):
        async def stop(self) -> None:
            await asyncio.sleep(0)
            say("stop")
            await super().stop()

    kind = StoppingLater if is_coroutine else Stopping

    def make(job_id: JobId) -> Job:
        job = kind(stage)
        job.id = job_id
        return job

    stage.jobs.add("said", make)
    stage.plays["b"] = [says_and_waits]
    with printing():
        stage.runner.run(chain("A > b > C", jobs={"b": {"type": "said"}}), 1)
        await stage.until_started("b")
        stage.runner.stop("request", "")
        await stage.reports.end()

    [(out, _)] = printed(stage, "b")
    assert out == "job out\nstop out\nstopped out\n"


async def test_each_try_has_only_its_own_output(stage: Stage) -> None:
    second_printed = asyncio.Event()
    leftover: list[asyncio.Task[None]] = []

    async def first(job: Scripted, data: Data) -> Return:
        async def outlive() -> None:
            await second_printed.wait()
            print("of the first try, late")
            job.prints("likewise")

        leftover.append(asyncio.create_task(outlive()))
        print("first")
        return Return(FAIL)

    async def second(job: Scripted, data: Data) -> Return:
        print("second")
        second_printed.set()
        await leftover[0]
        return Return(COMPLETE)

    stage.plays["b"] = [first, second]
    with printing() as process, capture_logs() as logs:
        await stage.run(chain("A > b > C", jobs={"b": {"retry": 1}}))

    assert printed(stage, "b") == [("first\n", ""), ("second\n", "")]
    assert process.getvalue() == ""
    assert logs == [
        {
            "event": "output after the end of a try discarded",
            "log_level": "warning",
            "request_id": "request",
            "job_id": "b",
            "path": "",
        }
    ]


async def test_a_job_may_have_an_attribute_of_the_name(stage: Stage) -> None:
    async def play(job: Scripted, data: Data) -> Return:
        job.output = "a file"  # type: ignore[assignment] # an author may not know of it
        job.prints("one ")
        print("two")
        [(_, output)] = stage.runner.jobs_with_output("request")
        assert output.after(STDOUT, 0) == (0, b"one two\n")
        return Return(COMPLETE)

    stage.plays["b"] = [play]
    with printing():
        await stage.run(chain("A > b > C"))

    assert printed(stage, "b") == [("one two\n", "")]


async def test_only_jobs_that_print_have_output(stage: Stage) -> None:
    async def waits(job: Scripted, data: Data) -> Return:
        await job.stop_requested.wait()
        return Return(STOPPED)

    stage.plays = {"b": [waits], "c": [says_and_waits]}
    with printing():
        stage.runner.run(chain("A > b c > D"), 1)
        await stage.until_started("b", "c")
        await turns()
        [(job, output)] = stage.runner.jobs_with_output("request")
        stage.runner.stop("request", "")
        await stage.reports.end()

    assert job.id.id == "c"
    assert job.output is output


class Attribution:
    """Observes whether the runner's own code runs as that of a job."""

    def __init__(self) -> None:
        self.seen: list[object] = []
        self.has_reported = asyncio.Event()
        self.has_ended = asyncio.Event()

    def _note(self) -> None:
        self.seen += [CURRENT_JOB.get(), CURRENT_OUTPUT.get()]

    def started(self, running: TryExecution) -> None:
        self._note()

    def reported(self, running: TryExecution, progress: Progress) -> None:
        self._note()
        asyncio.get_running_loop().call_soon(self._note)
        asyncio.get_running_loop().call_soon(self.has_reported.set)

    def ended(self, running: TryExecution, end: object) -> None:
        self._note()
        asyncio.get_running_loop().call_soon(self._note)
        asyncio.get_running_loop().call_soon(self.has_ended.set)


async def test_the_runner_is_no_part_of_a_job(stage: Stage) -> None:
    async def reports(job: Scripted, data: Data) -> Return:
        job.report("half", 50)
        await observer.has_reported.wait()
        return Return(COMPLETE)

    observer = Attribution()
    job = Scripted(stage)
    job.id = JobId("test", "b", "b", "request")
    stage.plays["b"] = [reports]
    TryExecution(job, {}, stage.environment, lambda: 1, observer).start(None)
    await observer.has_ended.wait()

    assert len(observer.seen) == 10
    assert not any(observer.seen)


def test_a_fork_of_a_job_does_not_take_its_output_along(capfd: pytest.CaptureFixture[str]) -> None:
    program = (
        "import os, sys\n"
        "from spincycle.job.builtin.noop import Noop\n"
        "from spincycle.job.current_job import enter_job\n"
        "from spincycle.job.try_output import TryOutput\n"
        "from spincycle.job_runner.standard_streams import install_job_streams\n"
        "install_job_streams()\n"
        "enter_job(Noop(), TryOutput())\n"
        "print('of the job')\n"
        "if not os.fork():\n"
        "    print('of the child', flush=True)\n"
        "    os._exit(0)\n"
        "os.wait()\n"
    )
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", program], os.environ)
    assert os.waitpid(pid, 0)[1] == 0
    assert capfd.readouterr() == ("of the child\n", "")
