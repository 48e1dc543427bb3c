from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spincycle.dev.child import Process, until_ended, until_gone
from spincycle.dev.lock import FileLock, Locked
from spincycle.dev.postgres import EmbeddedPostgres
from spincycle.dev.stack_processes import MARK, end_processes, find_processes

SUPERVISOR = f"""
import os, subprocess, sys
from pathlib import Path
from spincycle.dev.reaper import Reaper
from spincycle.dev.lock import FileLock

home = Path(sys.argv[1])
lock = FileLock(home / "lock")
lock.acquire()
reaper = Reaper(home, remove=[home / "throw-away", home / "lock"], hold=lock.descriptor)
environment = {{**os.environ, "{MARK}": str(home)}}
# A child that starts a grandchild in another session.
subprocess.run(
    [sys.executable, "-c", "import subprocess; subprocess.Popen(['sleep', '300'], "
     "start_new_session=True)"],
    env=environment, check=True,
)
stubborn = subprocess.Popen(
    ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 300; done"],
    env=environment, stdout=subprocess.PIPE,
)
stubborn.stdout.readline()
if sys.argv[2:]:
    reaper.dismiss()
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def supervisor(home: Path, *arguments: str) -> Iterator[Process]:
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, home, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process


def reaper_of(home: Path) -> int:
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"spincycle.dev.reaper" in words and str(home).encode() in words:
                return int(entry.name)
    raise AssertionError("no reaper")


async def test_a_killed_supervisor_leaves_no_process_no_file_and_no_lock(home: Path) -> None:
    (home / "throw-away" / "deep").mkdir(parents=True)
    with supervisor(home) as process:
        reaper = reaper_of(home)
        assert len(find_processes(home)) >= 2

        process.kill()
        await until_gone(reaper)

    assert find_processes(home) == []
    assert os.listdir(home) == []  # noqa: PTH208 # plain names


async def test_the_lock_of_a_killed_supervisor_is_held_until_cleanup_ends(home: Path) -> None:
    with supervisor(home) as process:
        reaper = reaper_of(home)
        os.kill(reaper, signal.SIGSTOP)
        try:
            process.kill()
            await until_ended(process)

            with pytest.raises(Locked):
                FileLock(home / "lock").acquire()
        finally:
            os.kill(reaper, signal.SIGCONT)
        await until_gone(reaper)

    lock = FileLock(home / "lock")
    lock.acquire()
    lock.release()


async def test_a_dismissed_reaper_does_nothing(home: Path) -> None:
    (home / "throw-away").mkdir()
    with supervisor(home, "dismiss") as process:
        process.kill()
        await until_ended(process)

        assert len(find_processes(home)) >= 2
        assert (home / "throw-away").exists()
        await asyncio.to_thread(end_processes, home, 0.2)
        assert find_processes(home) == []


async def test_a_database_is_ended_last_and_in_good_order(home: Path) -> None:
    server = EmbeddedPostgres(home, {**os.environ, MARK: str(home)})
    await server.start()
    assert server.pid in find_processes(home)

    ending = asyncio.create_task(asyncio.to_thread(end_processes, home, 5.0))
    assert await server.until_ended() == 0
    await ending

    assert not (home / "data" / "postmaster.pid").exists()
    await server.stop()


def test_a_lock_names_its_holder(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "lock")
    lock.acquire()
    lock.write("process 7, since noon")
    lock.write("process 7")

    with pytest.raises(Locked, match=r"process 7$"):
        FileLock(tmp_path / "lock").acquire()

    lock.release()
    assert list(tmp_path.iterdir()) == []
