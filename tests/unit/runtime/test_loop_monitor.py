from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import MutableMapping
from types import FrameType
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.waiting import until

from spincycle.runtime.loop_monitor import (
    EXIT_LOOP_BLOCKED,
    Attribution,
    BlockLimit,
    LoopMonitor,
)

Logs = list[MutableMapping[str, Any]]


class Blocker:
    """Blocks until the monitor has looked for the job that blocks."""

    def __init__(self) -> None:
        self.owner: Attribution | None = None
        self.was_seen = threading.Event()

    def attribute(self, frame: FrameType) -> Attribution | None:
        self.was_seen.set()
        return self.owner

    def block(self, job_type: str = "") -> None:
        if job_type:
            self.owner = Attribution(job_type, job_type, {"job_type": job_type}, __name__, 1)
        self.was_seen.clear()
        assert self.was_seen.wait(30)


def events(logs: Logs, event: str) -> Logs:
    return [each for each in logs if each["event"] == event]


async def test_a_block_is_logged_once_with_its_line_and_stack_and_once_when_it_ends() -> None:
    blocker = Blocker()
    with capture_logs() as logs:
        async with LoopMonitor(blocker.attribute) as monitor:
            blocker.block()
            blocker.block()
            await until(lambda: events(logs, "event loop no longer blocked"))

    (block,) = events(logs, "event loop blocked")
    (end,) = events(logs, "event loop no longer blocked")
    assert re.fullmatch(r".*/threading.py:\d+", block["line"])
    places = [line.rpartition(" in ")[2] for line in block["stack"].splitlines()]
    assert places.index("Event.wait") < places.index("Blocker.block")
    assert end["line"] == block["line"]
    assert end["seconds"] >= 0.25
    assert monitor.lags.read()[("",)][1] >= end["seconds"] - 0.001


async def test_the_line_is_the_innermost_one_of_the_jobs_module() -> None:
    blocker = Blocker()
    blocker.owner = Attribution("job", "copy", {}, __name__, 40)
    with capture_logs() as logs:
        async with LoopMonitor(blocker.attribute):
            blocker.block()
            await until(lambda: events(logs, "event loop no longer blocked"))

    (block,) = events(logs, "event loop blocked")
    assert re.fullmatch(re.escape(__file__) + r":\d+", block["line"])
    assert f"{block['line']} in Blocker.block" in block["stack"]


async def test_each_job_that_blocks_the_loop_is_logged_and_counted() -> None:
    blocker = Blocker()
    with capture_logs() as logs:
        async with LoopMonitor(blocker.attribute) as monitor:
            blocker.block("first")
            assert monitor.is_blocked_by("first") or not events(logs, "event loop blocked")
            blocker.block("second")
            blocker.block("second")
            await until(lambda: len(events(logs, "event loop no longer blocked")) == 2)

    assert [each["job_type"] for each in events(logs, "event loop blocked")] == ["first", "second"]
    counts = {key: sum(counts) for (key,), (counts, _) in monitor.lags.read().items()}
    assert counts["first"] == counts["second"] == 1


async def test_a_job_that_runs_right_after_a_block_does_not_block_the_loop() -> None:
    blocker = Blocker()
    with capture_logs() as logs:
        async with LoopMonitor(blocker.attribute) as monitor:
            blocker.block("first")
            blocker.block("first")
            blocker.block("second")
            assert not monitor.is_blocked_by("second")
            await until(lambda: events(logs, "event loop no longer blocked"))

    assert [each["job_type"] for each in events(logs, "event loop blocked")] == ["first"]


async def test_a_loop_that_waits_is_not_blocked() -> None:
    with capture_logs() as logs:
        async with LoopMonitor() as monitor:
            await until(lambda: sum(monitor.lags.read()[("",)][0]) > 5)

    assert logs == []


async def test_a_loop_that_is_blocked_for_too_long_ends_the_process() -> None:
    ended = threading.Event()
    with capture_logs() as logs:
        async with LoopMonitor(limit=BlockLimit(0.5, ended.set)):
            assert ended.wait(30)

    (end,) = [each for each in logs if each["log_level"] == "error"]
    assert end["seconds"] >= 0.5
    assert end["exit_code"] == EXIT_LOOP_BLOCKED
    assert "Event.wait" in end["stack"]


async def test_code_that_holds_the_interpreter_lock_is_found_when_it_releases_it() -> None:
    length, seconds = 18, 0.0
    while seconds < 0.5:
        length += 1
        seconds = seconds_in_c(length)
    with capture_logs() as logs:
        async with LoopMonitor():
            await asyncio.sleep(0)
            seconds_in_c(length + 1)
            await until(lambda: events(logs, "event loop no longer blocked"))

    block = events(logs, "event loop blocked")[0]
    assert block["holds_interpreter_lock"]
    assert "seconds_in_c" in block["stack"]


def seconds_in_c(length: int) -> float:
    """Match a regular expression, which takes twice as long for each further character."""
    began = time.monotonic()
    re.match("(a+)+$", "a" * length + "b")
    return time.monotonic() - began


def start(program: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


FROZEN = """
import asyncio, os, sys
from spincycle.runtime.loop_monitor import BlockLimit, LoopMonitor

async def main():
    async with LoopMonitor(limit=BlockLimit(1.0, lambda: os._exit(4))) as monitor:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        ticks = sum(monitor.lags.read()[("",)][0])
        while sum(monitor.lags.read()[("",)][0]) < ticks + 10:
            await asyncio.sleep(0.01)
        print("alive", flush=True)

asyncio.run(main())
"""


async def test_a_process_that_was_frozen_has_no_blocked_loop() -> None:
    process = start(FROZEN)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"

    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(2.5)  # Longer than the limit: what is tested is that it does not count.
    process.send_signal(signal.SIGCONT)
    output, _ = process.communicate("\n")

    assert output == "alive\n"
    assert process.returncode == 0


HOLDING = """
import asyncio, re
from spincycle.runtime.loop_monitor import BlockLimit, LoopMonitor

async def main():
    async with LoopMonitor(limit=BlockLimit(1.0, lambda: None)):
        await asyncio.sleep(0)
        re.match("(a+)+$", "a" * 60 + "b")

asyncio.run(main())
"""


@pytest.mark.slow
def test_a_process_whose_interpreter_lock_is_never_released_ends_with_its_stack() -> None:
    process = start(HOLDING)

    output, _ = process.communicate()

    assert process.returncode == 1
    assert "Timeout (" in output
    assert "in main" in output


FOR_PEOPLE = """
import asyncio, threading
from spincycle.runtime.config import LogConfig
from spincycle.runtime.logs import configure_logs
from spincycle.runtime.loop_monitor import LoopMonitor

seen = threading.Event()

def blocks():
    seen.wait()

async def main():
    async with LoopMonitor(lambda _: seen.set()):
        blocks()
        await asyncio.sleep(0.2)

configure_logs(LogConfig(format="human"), "here")
asyncio.run(main())
"""


def test_the_log_for_people_has_the_stack_on_lines_of_its_own() -> None:
    output, _ = start(FOR_PEOPLE).communicate()

    assert "event loop no longer blocked" in output
    assert any(line.endswith(" in blocks") for line in output.splitlines())
