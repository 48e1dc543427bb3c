from __future__ import annotations

import asyncio
import threading

import pytest

from spincycle.runtime import process
from spincycle.runtime.memory_watchdog import (
    EXIT_OUT_OF_MEMORY,
    FAILURES_WITHIN,
    MOST_FAILURES,
    MOST_LOOKS,
    MemoryWatchdog,
)
from spincycle.runtime.process import keep_up


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Memory:
    is_there = True

    def __call__(self) -> bool:
        return self.is_there


def test_memory_that_is_short_for_a_moment_ends_nothing() -> None:
    memory = Memory()
    watchdog = MemoryWatchdog(lambda: None, memory)

    for _ in range(3):
        memory.is_there = False
        assert not any(watchdog.must_end() for _ in range(MOST_LOOKS - 1))
        memory.is_there = True
        assert not watchdog.must_end()


def test_memory_that_stays_short_ends_the_process() -> None:
    memory = Memory()
    memory.is_there = False
    watchdog = MemoryWatchdog(lambda: None, memory)

    assert [watchdog.must_end() for _ in range(MOST_LOOKS)][-2:] == [False, True]


@pytest.mark.parametrize(
    ("pause", "ends"), [(FAILURES_WITHIN / 2, True), (FAILURES_WITHIN / 2 + 1, False)]
)
def test_background_work_that_fails_again_and_again_ends_the_process(
    pause: float, ends: bool
) -> None:
    clock = Clock()
    watchdog = MemoryWatchdog(lambda: None, Memory(), clock=clock)

    for _ in range(MOST_FAILURES):
        assert not watchdog.must_end()
        watchdog.failed()
        clock.now += pause

    assert watchdog.must_end() is ends


async def test_duties_that_run_out_of_memory_end_the_process_in_order_first(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("spincycle.runtime.memory_watchdog.LAST_WORDS", 0)
    monkeypatch.setattr(process, "BEGIN_AGAIN_AFTER", 0)
    # Their hooks are those of the whole process.
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

    await asyncio.wait_for(keep_up("allocating", work), 30)

    assert done == ["end", EXIT_OUT_OF_MEMORY]
    assert watchdog.has_ended
    assert capfd.readouterr().err.count('"event": "out of memory"') == 1
