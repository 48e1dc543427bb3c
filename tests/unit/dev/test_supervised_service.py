from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from dataclasses import replace

import pytest

from spincycle.dev.child import until_gone
from spincycle.dev.configuration import Configuration
from spincycle.dev.errors import StackError
from spincycle.dev.services import Service
from spincycle.dev.stack_processes import MARK
from spincycle.dev.supervised_service import SupervisedService

MakeService = Callable[[str], Service]


class Lines:
    """Records the printed lines and waits for one."""

    def __init__(self) -> None:
        self.all: list[str] = []
        self._more = asyncio.Event()

    def show(self, name: str, line: str) -> None:
        self.all.append(f"{name}: {line}")
        self._more.set()

    async def until(self, part: str) -> None:
        async with asyncio.timeout(20):
            while not any(part in line for line in self.all):
                self._more.clear()
                await self._more.wait()


@pytest.fixture
def lines() -> Lines:
    return Lines()


def supervise(service: Service, lines: Lines, *, restarts: bool = True) -> SupervisedService:
    supervised = SupervisedService(service, dict(os.environ), lines.show, restarts=restarts)
    supervised.start()
    return supervised


async def test_output_of_a_service_is_shown_under_its_name(
    service: MakeService, lines: Lines
) -> None:
    supervised = supervise(service("sys.stderr.write('caution\\nunfinished')"), lines)
    await supervised.until_ready(20)
    await supervised.stop(5)

    assert "small: caution" in lines.all
    assert "small: unfinishedlistening" in lines.all


async def test_a_service_that_dies_is_reported_and_restarted(
    service: MakeService, lines: Lines
) -> None:
    supervised = supervise(service(""), lines)
    await supervised.until_ready(20)
    first = supervised.pid

    os.kill(first, signal.SIGKILL)
    await lines.until("was killed by SIGKILL; restarting in 0.5 s")
    await supervised.until_ready(20)

    assert supervised.pid != first
    await supervised.stop(5)


async def test_a_killed_service_stays_down_until_it_is_started(
    service: MakeService, lines: Lines
) -> None:
    supervised = supervise(service(""), lines)
    await supervised.until_ready(20)

    await supervised.kill()

    assert lines.all == ["small: listening"]
    supervised.start()
    await supervised.until_ready(20)
    await supervised.stop(5)


async def test_a_service_that_dies_before_it_was_ready_is_not_restarted(
    service: MakeService, lines: Lines
) -> None:
    supervised = supervise(service("print('no such file'); sys.exit(3)"), lines)

    with pytest.raises(StackError, match=r"small exited with code 3.*\n  no such file"):
        await supervised.until_ready(20)

    await supervised.stop(5)
    assert lines.all == ["small: no such file", "small: exited with code 3"]


async def test_a_service_stopped_during_the_restart_delay_stays_down(
    service: MakeService, lines: Lines
) -> None:
    supervised = supervise(service(""), lines)
    await supervised.until_ready(20)
    os.kill(supervised.pid, signal.SIGKILL)
    await lines.until("restarting in")

    await supervised.stop(5)

    await until_gone(supervised.pid)


async def test_a_service_that_ignores_sigterm_is_killed(service: MakeService, lines: Lines) -> None:
    ignore = "signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal = print"
    supervised = supervise(service(ignore), lines)
    await lines.until("listening")

    await supervised.stop(0.1)

    await until_gone(supervised.pid)


async def test_an_endless_line_does_not_fill_the_memory(service: MakeService, lines: Lines) -> None:
    supervised = supervise(service("sys.stdout.write('x' * 1_000_000)"), lines)
    await supervised.until_ready(20)
    await lines.until("listening")

    assert max(map(len, lines.all)) < 300_000
    await supervised.stop(5)


async def test_the_configuration_reaches_each_process_by_a_new_descriptor_only(
    service: MakeService, lines: Lines
) -> None:
    small = service(
        "words = [word.partition('=') for word in sys.argv[1:]]\n"
        "values = {name: value for name, _, value in words}\n"
        "print('configuration', open(values['--config']).read(), flush=True)\n"
        "print('stack', values['--stack'], flush=True)\n"
        "print('found', 'hidden' in str((sys.argv, dict(os.environ))), flush=True)"
    )
    configured = replace(small, configuration=Configuration("SMALL_", {"dsn": "hidden"}))
    supervised = supervise(configured, lines)
    await supervised.until_ready(20)
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 # plain names

    os.kill(supervised.pid, signal.SIGKILL)
    await lines.until("restarting in")
    await supervised.until_ready(20)
    await supervised.stop(5)

    assert lines.all.count('small: configuration {"dsn": "hidden"}') == 2
    assert lines.all.count(f"small: stack {small.environment[MARK]}") == 2
    assert lines.all.count("small: found False") == 2
    assert len(os.listdir("/proc/self/fd")) <= before  # noqa: PTH208 # as above
