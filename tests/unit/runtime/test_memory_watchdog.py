from __future__ import annotations

import asyncio
import threading

import pytest

from spincycle.runtime import process
from spincycle.runtime.memory_watchdog import (
    EXIT_OUT_OF_MEMORY,
    FAILURE_WINDOW,
    MAX_FAILED_PROBES,
    MAX_FAILURES,
    MemoryWatchdog,
)
from spincycle.runtime.process import supervise


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Memory:
    is_there = True

    def __call__(self) -> bool:
        return self.is_there


def test_a_short_memory_shortage_does_not_end_the_process() -> None:
    memory = Memory()
    watchdog = MemoryWatchdog(lambda: None, memory)

    for _ in range(3):
        memory.is_there = False
        assert not any(watchdog.must_end() for _ in range(MAX_FAILED_PROBES - 1))
        memory.is_there = True
        assert not watchdog.must_end()


def test_a_lasting_memory_shortage_ends_the_process() -> None:
    memory = Memory()
    memory.is_there = False
    watchdog = MemoryWatchdog(lambda: None, memory)

    assert [watchdog.must_end() for _ in range(MAX_FAILED_PROBES)][-2:] == [False, True]


@pytest.mark.parametrize(
    ("pause", "ends"), [(FAILURE_WINDOW / 2, True), (FAILURE_WINDOW / 2 + 1, False)]
)
def test_repeated_failures_of_background_work_end_the_process(pause: float, ends: bool) -> None:
    clock = Clock()
    watchdog = MemoryWatchdog(lambda: None, Memory(), clock=clock)

    for _ in range(MAX_FAILURES):
        assert not watchdog.must_end()
        watchdog.record_failure()
        clock.now += pause

    assert watchdog.must_end() is ends


async def test_background_tasks_out_of_memory_end_the_process_with_an_orderly_shutdown_first(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("spincycle.runtime.memory_watchdog.SHUTDOWN_TIMEOUT", 0)
    monkeypatch.setattr(process, "RESTART_DELAY", 0)
    # The hooks are global to the process.
    monkeypatch.setattr("sys.unraisablehook", lambda _: None)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    done: list[object] = []
    left = threading.Event()

    def leave(code: int) -> None:
        done.append(code)
        left.set()

    watchdog = MemoryWatchdog(lambda: done.append("end"), Memory(), leave)
    monkeypatch.setattr(process, "_watchdogs", [watchdog])
    watchdog.start()

    async def work() -> None:
        if not left.is_set():
            raise MemoryError

    await asyncio.wait_for(supervise("allocating", work), 30)

    assert done == ["end", EXIT_OUT_OF_MEMORY]
    assert watchdog.triggered
    assert capfd.readouterr().err.count('"event": "out of memory"') == 1
