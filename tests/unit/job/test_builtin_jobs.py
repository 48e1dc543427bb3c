from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from spincycle.job import ArgNotSet, Job, JobError, JobId, Return, State, Value, WrongArgType
from spincycle.job.builtin import jobs, shell_command
from spincycle.job.try_output import STDOUT

if TYPE_CHECKING:
    from collections.abc import Callable


def made(type_: str) -> Job:
    return jobs.make(JobId(type_, "n", "aaaa", "r"))


def created(type_: str, **args: Value) -> Job:
    """A job as the runner has it: made by bytes that another object serialized."""
    first = made(type_)
    assert first.create(args) is None
    second = made(type_)
    second.deserialize(first.serialize())
    return second


async def result(job: Job) -> Return:
    running = job.run({})
    assert not isinstance(running, Return)
    return await running


async def stop(job: Job) -> None:
    stopping = job.stop()
    assert stopping is not None
    await stopping


def python(code: str, *arguments: str) -> Job:
    return created("shell-command", cmd=sys.executable, args=["-c", code, *arguments])


def test_a_noop_is_complete_at_once() -> None:
    assert made("noop").immediate
    assert made("noop").run({}) == Return(State.COMPLETE)


@pytest.mark.parametrize(
    ("duration", "nanoseconds"),
    [("1000", 10**9), ("1.5", 1_500_000), (20, 20_000_000), ("2s", 2 * 10**9), ("0", 0)],
)
def test_sleep_takes_milliseconds_or_a_unit(duration: Value, nanoseconds: int) -> None:
    assert json.loads(created("sleep", duration=duration).serialize()) == {"duration": nanoseconds}


def test_sleep_rejects_invalid_durations() -> None:
    with pytest.raises(ArgNotSet, match="duration not set in job args"):
        created("sleep")
    with pytest.raises(JobError, match=r'duration: "abc" is not a duration'):
        created("sleep", duration="abc")
    with pytest.raises(JobError, match=r"is not a duration: write numbers with units"):
        created("sleep", duration="9" * 4000)
    with pytest.raises(JobError, match="is longer than the maximum of 292 years"):
        created("sleep", duration="300000h1" + "0" * 30 + "s")
    with pytest.raises(WrongArgType, match="duration in job args is type list, expected type str"):
        created("sleep", duration=["1"])


async def test_sleep_is_complete_when_its_time_is_over() -> None:
    assert await result(created("sleep", duration="1")) == Return(State.COMPLETE)


async def test_a_stopped_sleep_returns_stopped() -> None:
    job = created("sleep", duration="1h")
    running = asyncio.ensure_future(result(job))
    await asyncio.sleep(0)

    await stop(job)
    await stop(job)

    assert (await running).state == State.STOPPED


async def test_a_sleep_stopped_before_it_ran_does_not_sleep() -> None:
    job = created("sleep", duration="1h")
    await stop(job)
    assert (await result(job)).state == State.STOPPED


def test_shell_command_splits_a_string_and_keeps_a_list() -> None:
    split = created("shell-command", cmd="ls", args=" -l  /tmp ")
    kept = created("shell-command", cmd="ls", args=["a b", 3])
    alone = created("shell-command", cmd="ls")

    assert json.loads(split.serialize()) == {"cmd": "ls", "args": ["-l", "/tmp"]}
    assert json.loads(kept.serialize()) == {"cmd": "ls", "args": ["a b", "3"]}
    assert json.loads(alone.serialize()) == {"cmd": "ls"}


def test_shell_command_refuses_arguments_of_the_wrong_type() -> None:
    with pytest.raises(ArgNotSet, match="cmd not set in job args"):
        created("shell-command")
    with pytest.raises(WrongArgType, match="cmd in job args is type int"):
        created("shell-command", cmd=3)
    with pytest.raises(WrongArgType, match="args in job args is type dict"):
        created("shell-command", cmd="ls", args={})
    with pytest.raises(WrongArgType, match="list with dict"):
        created("shell-command", cmd="ls", args=[{}])


@pytest.mark.usefixtures("each_way")
async def test_shell_command_keeps_both_outputs_and_blanks_in_arguments() -> None:
    code = "import sys; print(sys.argv[1]); print('oops', file=sys.stderr)"
    job = python(code, "a  b; echo c")

    assert await result(job) == Return(State.COMPLETE, 0, "", "a  b; echo c\n", "oops\n")
    assert job.status().startswith("done running ")


@pytest.mark.usefixtures("each_way")
async def test_shell_command_fails_with_the_real_exit_code() -> None:
    assert await result(python("raise SystemExit(3)")) == Return(
        State.FAIL, exit=3, error="exit status 3"
    )


@pytest.mark.usefixtures("each_way")
async def test_a_program_that_a_signal_ended_has_failed() -> None:
    job = python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert await result(job) == Return(State.FAIL, exit=137, error="signal: Killed")


@pytest.mark.usefixtures("each_way")
async def test_a_missing_program_fails_with_its_name() -> None:
    returned = await result(created("shell-command", cmd="/no/such/program"))
    assert returned.state == State.FAIL
    assert returned.exit == 127
    assert returned.error == "cannot run /no/such/program: No such file or directory"


@pytest.mark.usefixtures("each_way")
async def test_large_output_is_truncated_in_the_middle() -> None:
    code = "import sys; sys.stdout.write('head'); sys.stdout.write('x' * 5_000_000 + 'tail')"
    returned = await result(python(code))

    assert returned.stdout.startswith("head")
    assert returned.stdout.endswith("tail")
    assert "bytes cut" in returned.stdout
    assert len(returned.stdout) < 300_000


async def test_a_command_that_no_runner_runs_has_only_the_output_of_its_last_call() -> None:
    job = python("print('once')")

    assert (await result(job)).stdout == "once\n"
    assert (await result(job)).stdout == "once\n"


async def until(happened: Callable[[], bool]) -> None:
    """Poll, since the other process cannot notify this one."""
    while not happened():  # noqa: ASYNC110 - see above
        await asyncio.sleep(0.01)


def words(file: Path) -> list[str]:
    return file.read_text().split() if file.exists() else []


async def until_written(file: Path, count: int) -> list[str]:
    await until(lambda: len(words(file)) >= count)
    return words(file)


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False


async def until_gone(pid: int) -> None:
    await until(lambda: not alive(pid))


@pytest.mark.usefixtures("each_way")
async def test_stop_ends_the_program_and_what_it_started(tmp_path: Path) -> None:
    file = tmp_path / "pids"
    job = python(
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "open(sys.argv[1], 'w').write(f'{os.getpid()} {child.pid}')\n"
        "time.sleep(600)",
        str(file),
    )
    running = asyncio.ensure_future(result(job))
    pids = [int(pid) for pid in await until_written(file, 2)]

    await stop(job)

    assert (await running).state == State.STOPPED
    for pid in pids:
        await until_gone(pid)


@pytest.mark.usefixtures("each_way")
async def test_a_program_that_ignores_term_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell_command, "KILL_AFTER", 0.05)
    file = tmp_path / "pid"
    job = python(
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "open(sys.argv[1], 'w').write(str(os.getpid()))\n"
        "time.sleep(600)",
        str(file),
    )
    running = asyncio.ensure_future(result(job))
    (pid,) = await until_written(file, 1)

    await stop(job)

    returned = await running
    assert returned.state == State.STOPPED
    assert returned.exit == 137
    await until_gone(int(pid))


@pytest.mark.usefixtures("each_way")
async def test_a_child_that_keeps_the_output_open_does_not_hold_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shell_command, "OUTPUT_GRACE", 0.05)
    file = tmp_path / "pid"
    job = python(
        "import os, subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "open(sys.argv[1], 'w').write(str(child.pid))\n"
        "print('started')",
        str(file),
    )

    returned = await result(job)

    assert returned == Return(State.COMPLETE, stdout="started\n")
    (pid,) = await until_written(file, 1)
    assert alive(int(pid))
    os.kill(int(pid), signal.SIGKILL)


@pytest.mark.usefixtures("each_way")
async def test_a_cancelled_command_leaves_no_process(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    job = python(
        "import os, sys, time\nopen(sys.argv[1], 'w').write(str(os.getpid()))\ntime.sleep(600)",
        str(file),
    )
    running = asyncio.ensure_future(result(job))
    (pid,) = await until_written(file, 1)

    running.cancel()

    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


@pytest.mark.usefixtures("each_way")
async def test_the_output_of_a_program_is_available_while_it_runs(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    job = created("shell-command", cmd="sh", args=["-c", f"echo hello; read go < {gate}; echo bye"])
    running = asyncio.create_task(result(job))
    await until(lambda: job.output is not None and job.output.after(STDOUT, 0)[1] == b"hello\n")

    gate.write_text("go\n")

    assert (await running).stdout == "hello\nbye\n"
