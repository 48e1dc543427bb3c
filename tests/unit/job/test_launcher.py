from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from spincycle.job import JobId, Return, State, launcher_process
from spincycle.job import launcher as launcher_module
from spincycle.job.builtin import jobs
from spincycle.job.errors import LauncherLost
from spincycle.job.launcher import Launcher
from spincycle.job.program import Program, start_program

LIST_DESCRIPTORS = "import os; print(*sorted(map(int, os.listdir('/proc/self/fd'))))"

RUNNER = """
import asyncio, os, signal, sys
from spincycle.job.launcher import Launcher, install
from spincycle.job.program import start_program

async def main():
    launcher = Launcher()
    install(launcher)
    running = asyncio.create_task(launcher.run())
    await asyncio.sleep(0)
    if "fork" in sys.argv and os.fork() == 0:
        os.setsid()
        print("forked", os.getpid(), flush=True)
        while True:
            signal.pause()
    await start_program(sys.argv[1:2] + ["-c", sys.argv[2]], stdout=1, stderr=2)
    print("launcher", launcher.pid, flush=True)
    await running

asyncio.run(main())
"""


async def output_of(
    *argv: str, environment: Mapping[str, str] | None = None, directory: str | None = None
) -> str:
    """Run a program to its end and return what it printed."""
    read_end, write_end = os.pipe()
    with os.fdopen(read_end, "rb") as reader:
        try:
            program = await start_program(
                argv, stdout=write_end, stderr=2, environment=environment, directory=directory
            )
        finally:
            os.close(write_end)
        text = await asyncio.to_thread(reader.read)
    assert await program.wait() == 0
    return text.decode()


async def started(*argv: str) -> Program:
    return await start_program(argv, stdout=2, stderr=2)


async def run_shell_command(command: str, *args: str) -> Return:
    first = jobs.make(JobId("shell-command", "n", "aaaa", "r"))
    first.create({"cmd": command, "args": list(args)})
    job = jobs.make(JobId("shell-command", "n", "aaaa", "r"))
    job.deserialize(first.serialize())
    running = job.run({})
    assert not isinstance(running, Return)
    return await running


def runner_of(*args: str) -> subprocess.Popen[bytes]:
    """Start a process that starts a program by its own launcher and prints their ids."""
    return subprocess.Popen([sys.executable, "-c", RUNNER, *args], stdout=subprocess.PIPE)


async def until(happened: Callable[[], bool]) -> None:
    """Poll, since the other process cannot notify this one."""
    async with asyncio.timeout(30):
        while not happened():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.01)


def stat_of(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


def is_alive(pid: int) -> bool:
    return stat_of(pid)[:1] not in ([], ["Z"])


def exists(pid: int) -> bool:
    return bool(stat_of(pid))


async def test_programs_are_children_of_the_launcher(launcher: Launcher) -> None:
    returned = await run_shell_command("sh", "-c", "echo $PPID")

    assert returned.stdout == f"{launcher.pid}\n"


async def test_a_program_inherits_no_descriptor(launcher: Launcher, tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file:
        os.set_inheritable(file.fileno(), True)  # noqa: FBT003 # the parameter has no name
        descriptors = await output_of(sys.executable, "-c", LIST_DESCRIPTORS)

    # The last one is the directory that is being listed.
    assert descriptors == "0 1 2 3\n"


async def test_programs_that_end_at_once_are_all_reported(launcher: Launcher) -> None:
    async def exit_code(number: int) -> int:
        return await (await started("sh", "-c", f"exit {number}")).wait()

    expected = [number % 100 for number in range(150)]

    assert await asyncio.gather(*map(exit_code, expected)) == expected


async def test_programs_leave_no_descriptors_open(launcher: Launcher) -> None:
    await output_of("true")
    before = sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208 # plain names

    await asyncio.gather(*(output_of("echo", "x") for _ in range(20)))

    assert len(os.listdir("/proc/self/fd")) == len(before)  # noqa: PTH208 # plain names
    assert len(os.listdir(f"/proc/{launcher.pid}/fd")) < 10  # noqa: PTH208 # as above


async def test_arguments_larger_than_a_packet_arrive(launcher: Launcher) -> None:
    words = [str(number % 10) * 100_000 for number in range(10)]

    assert await output_of("sh", "-c", 'echo "$#:$1$2${10}"', "sh", *words) == (
        f"10:{words[0]}{words[1]}{words[9]}\n"
    )


@pytest.mark.usefixtures("each_way")
async def test_arguments_larger_than_the_system_allows_are_refused() -> None:
    returned = await run_shell_command("true", *["x" * 130_000] * 100)

    assert (returned.state, returned.exit) == (State.FAIL, 126)
    assert returned.error == "cannot run true: Argument list too long"


@pytest.mark.usefixtures("each_way")
@pytest.mark.parametrize(
    ("command", "args", "code", "error"),
    [
        ("/etc", [], 126, "cannot run /etc: Permission denied"),
        ("/no/such", [], 127, "cannot run /no/such: No such file or directory"),
        ("no-such-program", [], 127, "cannot run no-such-program: No such file or directory"),
        ("true", ["a\0b"], 126, "cannot run true: embedded null byte"),
    ],
)
async def test_a_program_that_cannot_start_fails_with_the_reason(
    command: str, args: list[str], code: int, error: str
) -> None:
    returned = await run_shell_command(command, *args)

    assert (returned.state, returned.exit, returned.error) == (State.FAIL, code, error)


@pytest.mark.usefixtures("each_way")
async def test_bytes_that_are_not_utf_8_are_passed_unchanged() -> None:
    code = "import os, sys; print(os.fsencode(sys.argv[1]), os.environb[b'ODD'])"
    environment = {**os.environ, "ODD": "\udcfe"}

    assert await output_of(sys.executable, "-c", code, "a\udcff€", environment=environment) == (
        "b'a\\xff\\xe2\\x82\\xac' b'\\xfe'\n"
    )


@pytest.mark.usefixtures("each_way")
async def test_a_program_gets_the_environment_and_directory_that_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SET_AFTER_THE_START", "1")

    assert "SET_AFTER_THE_START=1" in await output_of("env")
    assert await output_of("/usr/bin/env", environment={"ONLY": "this"}) == "ONLY=this\n"
    assert await output_of("pwd", directory=str(tmp_path)) == f"{tmp_path}\n"


async def test_a_program_has_a_session_default_signals_and_no_core_file(
    launcher: Launcher,
) -> None:
    code = (
        "import json, os, resource\n"
        "print(json.dumps([os.getsid(0) == os.getpid(),"
        " open('/proc/self/status').read().split('SigIgn:')[1].split()[0],"
        " resource.getrlimit(resource.RLIMIT_CORE)]))"
    )

    leads, ignored, core = json.loads(await output_of(sys.executable, "-c", code))

    assert leads
    # The interpreter ignores two of its own, and signals from 32 on belong to the C library.
    own = 1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1
    assert int(ignored, 16) & ((1 << 31) - 1) & ~own == 0
    assert core == [0, 0]
    assert resource.getrlimit(resource.RLIMIT_CORE)[1] != 0


async def test_a_daemon_that_a_program_leaves_behind_is_reaped(launcher: Launcher) -> None:
    daemon = int(await output_of("sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!"))
    await until(lambda: stat_of(daemon)[1:2] == [str(launcher.pid)])

    os.kill(daemon, signal.SIGKILL)

    await until(lambda: not exists(daemon))


async def test_a_try_fails_and_its_program_ends_when_the_launcher_dies(
    launcher: Launcher, tmp_path: Path
) -> None:
    file = tmp_path / "pid"
    command = f"echo said; echo $$ >{file}; sleep 1000"
    running = asyncio.create_task(run_shell_command("sh", "-c", command))
    await until(lambda: file.exists() and file.read_text().endswith("\n"))
    first = launcher.pid

    os.kill(first, signal.SIGKILL)

    returned = await running
    assert (returned.state, returned.exit, returned.stdout) == (State.FAIL, 137, "said\n")
    assert returned.error == "the launcher of the job runner ended before sh did; sh was killed"
    await until(lambda: not is_alive(int(file.read_text())))
    again = await run_shell_command("sh", "-c", "echo $PPID")
    assert again.state == State.COMPLETE
    assert again.stdout.strip() not in ("", str(first))


async def test_a_launcher_that_hangs_is_replaced(
    launcher: Launcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = await started("sleep", "1000")
    monkeypatch.setattr(launcher_module, "START_TIMEOUT", 0.05)
    os.kill(launcher.pid, signal.SIGSTOP)

    with pytest.raises(LauncherLost):
        await started("true")

    with pytest.raises(LauncherLost):
        await waiting.wait()
    monkeypatch.setattr(launcher_module, "START_TIMEOUT", 30)
    assert await (await started("true")).wait() == 0


async def test_starts_wait_while_the_launcher_does_not_read(launcher: Launcher) -> None:
    os.kill(launcher.pid, signal.SIGSTOP)
    # Together they are larger than the buffer of the socket.
    starting = [
        asyncio.create_task(output_of("echo", f"{number}", "x" * 20_000)) for number in range(100)
    ]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not any(task.done() for task in starting)

    os.kill(launcher.pid, signal.SIGCONT)

    for number, text in enumerate(await asyncio.gather(*starting)):
        assert text.startswith(f"{number} x")


async def test_a_start_that_is_cancelled_leaves_no_program(
    launcher: Launcher, tmp_path: Path
) -> None:
    file = tmp_path / "pid"
    os.kill(launcher.pid, signal.SIGSTOP)
    starting = asyncio.create_task(
        started("sh", "-c", f"echo $$ >{file}; while :; do sleep 1000; done")
    )
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    os.kill(launcher.pid, signal.SIGCONT)

    assert await (await started("true")).wait() == 0
    await until(lambda: not children(launcher.pid))
    assert not file.exists() or not is_alive(int(file.read_text() or "0"))


def children(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


async def test_the_program_of_a_killed_runner_ends_and_its_daemon_does_not(
    tmp_path: Path,
) -> None:
    file = tmp_path / "pids"
    program = f"setsid sleep 1000 & echo $$ $! >{file}; sleep 1000"
    with runner_of("sh", program) as runner:
        assert runner.stdout is not None
        launcher = int(runner.stdout.readline().split()[1])
        await until(lambda: file.exists() and file.read_text().endswith("\n"))
        child, daemon = map(int, file.read_text().split())
        # It leads its own session.
        await until(lambda: stat_of(daemon)[3:4] == [str(daemon)])

        runner.kill()

    await until(lambda: not exists(launcher))
    assert not is_alive(child)
    assert is_alive(daemon)
    os.kill(daemon, signal.SIGKILL)


async def test_a_process_that_a_job_forked_does_not_keep_the_programs_of_a_killed_runner(
    tmp_path: Path,
) -> None:
    with runner_of("sh", "sleep 1000", "fork") as runner:
        assert runner.stdout is not None
        lines = sorted(runner.stdout.readline().split() for _ in range(2))
        forked, launcher = (int(pid) for _, pid in lines)

        runner.kill()
        try:
            await until(lambda: not exists(launcher))
            assert is_alive(forked)
        finally:
            os.kill(forked, signal.SIGKILL)


@pytest.mark.slow
async def test_a_program_of_a_killed_runner_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "pid"
    program = f"trap '' TERM; echo $$ >{file}; while :; do sleep 1000; done"
    with runner_of("sh", program) as runner:
        assert runner.stdout is not None
        launcher = int(runner.stdout.readline().split()[1])
        await until(lambda: file.exists() and file.read_text().endswith("\n"))

        runner.kill()

    await until(lambda: not exists(launcher))
    assert not is_alive(int(file.read_text()))


def test_a_launcher_whose_runner_has_ended_before_it_starts_ends_without_a_traceback() -> None:
    runner = subprocess.Popen([sys.executable, "-c", ""])
    runner.wait()
    command = [sys.executable, launcher_process.__file__, "0", str(runner.pid)]

    launcher = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)

    assert (launcher.returncode, launcher.stderr) == (0, "")
