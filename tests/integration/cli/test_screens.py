"""The main views on terminals of 80 and 40 columns, compared with checked-in text."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from tests.cli_samples import (
    COMPLETE,
    FAIL,
    ID,
    RUNNING,
    START,
    at,
    entry,
    request,
    status,
)
from tests.integration.cli.conftest import Tty
from tests.integration.cli.creation import with_plan
from tests.integration.cli.fake_services import FakeServices, Memory
from tests.integration.cli.live_events import begin, end

OnTty = Callable[..., Tty]
ScreenIs = Callable[[str, str], None]

SIZES = pytest.mark.parametrize("columns", [80, 40])


@pytest.fixture
def known(services: FakeServices) -> FakeServices:
    """Services with data for every view, including wide characters."""
    with_plan(services)
    services.entry(entry("Plan", "plan-order", position=1, stdout="web1\nweb2\n"))
    services.entry(
        entry("D000", "drain", FAIL, position=2, error="接続がまだ三つ残っています", exit=1)
    )

    def fill(memory: Memory) -> None:
        memory.requests[ID].runner_address = "127.0.0.1:32311"
        memory.requests[
            ID
        ].state_message = (
            "job restart-host web1 / drain (D000) failed: 3 connections are still open"
        )
        other = "dc2c07b8di121n1t4i50"
        memory.requests[other] = request(
            id=other, type="provision-東京-cluster", user="ダナ", state=COMPLETE, finished_at=at(99)
        )
        # The width of a column must not depend on the day on which the test runs.
        now = at(time.time() - START)
        for job in (
            status("D000", "drain", RUNNING, status="3 connections left", started_at=now),
            status(
                "R000",
                "再起動",
                RUNNING,
                2,
                status="待っています",
                started_at=now,
                path="restart-host 東京1 / 再起動",
            ),
        ):
            memory.running.status.jobs.append(job)
        memory.running.status.requests[ID].CopyFrom(request(finished_jobs=7))
        memory.explained.state = RUNNING
        memory.explained.message = "its jobs"
        memory.explained.jobs.add(
            job_id="D001",
            name="drain",
            message="waits for its turn: 2 of 2 are in flight",
            path="restart-host web2 / drain",
        )
        memory.explained.jobs.add(
            job_id="Rept", name="report", message="waits for restart-host", path="report"
        )

    services.update(fill)
    return services


@SIZES
@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("listing", []),
        ("help", ["help"]),
        ("help-start", ["help", "start"]),
        ("help-request", ["help", "greet"]),
        ("find", ["find"]),
        ("ps", ["ps"]),
        ("status", ["status", ID]),
        ("info", ["info", ID]),
        ("log", ["log", ID]),
        ("plan", ["plan", "rolling-restart", "hosts=web1,web2"]),
        ("explain", ["explain", ID]),
        ("error", ["start", "rolling-restart", "host=web1"]),
    ],
)
def test_a_view_matches_its_checked_in_screen(
    known: FakeServices,
    tty: OnTty,
    screen_is: ScreenIs,
    name: str,
    args: list[str],
    columns: int,
) -> None:
    spinc = tty(*args, size=(60, columns))

    spinc.end()

    screen_is(f"{columns}/{name}", spinc.screen.text)


@SIZES
def test_a_start_matches_its_checked_in_screen(
    known: FakeServices,
    tty: OnTty,
    screen_is: ScreenIs,
    columns: int,
) -> None:
    spinc = tty("start", "rolling-restart", size=(60, columns))
    for question, reply in (("hosts=", "web1,web2"), ("parallel=", ""), ("abort: ", "ok")):
        spinc.see(question)
        spinc.type(reply)

    assert spinc.end() == 0
    screen_is(f"{columns}/start", spinc.screen.text)


@SIZES
def test_a_watched_request_matches_its_checked_in_screen(
    services: FakeServices, tty: OnTty, screen_is: ScreenIs, columns: int
) -> None:
    begin(services)
    # Short, so that it is not cut, whatever the span of time before it takes.
    services.job(status("D001", "drain", RUNNING, started_at=at(5), status="3 left"))
    spinc = tty("watch", ID, size=(24, columns))
    spinc.see("report")
    screen_is(f"{columns}/watch-running", spinc.screen.text)

    end(services)

    assert spinc.end() == 0
    screen_is(f"{columns}/watch-complete", spinc.screen.text)
