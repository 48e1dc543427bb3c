"""What every client program does about failures that real services give only under duress."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable

import pytest
from tests.clients.programs import Program, Run, every_program
from tests.clients.stand_in import REQUEST_ID, StandIn

from spincycle import errors
from spincycle.v1 import request_manager_service_pb2 as rm

pytestmark = [every_program, pytest.mark.asyncio(loop_scope="package")]

Start = Callable[..., Awaitable[Run]]


@pytest.fixture
def start(program: Program, stand_ins: list[StandIn], runs: list[Run]) -> Start:
    """Starts the program of the test with the addresses of stand-ins, the first one or all."""

    async def start(*words: str, of: int = 1, patience: int = 30_000, timeout: int = 5_000) -> Run:
        addresses = [stand_in.address for stand_in in stand_ins[:of]]
        run = await Run.start(
            program,
            *words,
            SPINC_ADDR=",".join(addresses),
            SPINC_JOB_LOG=addresses[0],
            SPINC_PATIENCE=str(patience),
            SPINC_TIMEOUT=str(timeout),
        )
        runs.append(run)
        return run

    return start


async def ran(start: Start, *words: str, **settings: int) -> Run:
    """The program after its end."""
    run = await start(*words, **settings)
    await run.ended()
    return run


def failing(
    times: int, error: errors.SpinCycleError, kind: type
) -> Callable[[object], errors.SpinCycleError | None]:
    """A refusal of the first calls with messages of a kind."""
    left = iter(range(times))

    def refuse(asked: object) -> errors.SpinCycleError | None:
        return error if isinstance(asked, kind) and next(left, None) is not None else None

    return refuse


async def test_a_create_that_finds_nobody_is_repeated_with_the_same_key(
    start: Start, stand_in: StandIn
) -> None:
    # More often than gRPC's own retry policy makes good.
    stand_in.refuse = failing(6, errors.DatabaseUnavailable(), rm.CreateRequest)

    run = await ran(start, "run", "walk")

    assert f"request {REQUEST_ID}" in run.lines, run
    keys = [asked.idempotency_key for asked in stand_in.of_kind(rm.CreateRequest)]
    assert len(keys) == 7
    assert len(set(keys)) == 1
    assert keys[0]


async def test_the_retry_policy_of_the_service_config_is_in_force(
    start: Start, stand_in: StandIn
) -> None:
    stand_in.refuse = failing(1000, errors.DatabaseUnavailable(), rm.StopRequest)

    run = await ran(start, "stop", REQUEST_ID, patience=0)

    assert "error: DATABASE_UNAVAILABLE: " in run.stderr, run
    assert len(stand_in.of_kind(rm.StopRequest)) == 4


async def test_a_watcher_that_was_too_slow_goes_on_from_its_last_cursor(
    start: Start, stand_in: StandIn
) -> None:
    stand_in.refuse = failing(1, errors.WatcherTooSlow(limit=1000), rm.WatchRequest)

    run = await ran(start, "watch", REQUEST_ID)

    assert "lost: WATCHER_TOO_SLOW: " in run.stderr, run
    assert [asked.cursor for asked in stand_in.of_kind(rm.WatchRequest)] == ["", "after-nothing"]
    assert run.lines == [f"{REQUEST_ID} COMPLETE", "ended COMPLETE 0/0"]


async def test_a_cursor_that_is_too_old_is_dropped(start: Start, stand_in: StandIn) -> None:
    stand_in.refuse = failing(1, errors.CursorTooOld(cursor="old"), rm.WatchRequest)

    run = await ran(start, "watch", REQUEST_ID, "old")

    assert "lost: CURSOR_TOO_OLD: " in run.stderr, run
    assert [asked.cursor for asked in stand_in.of_kind(rm.WatchRequest)] == ["old", ""]
    assert "ended COMPLETE 0/0" in run.lines


async def test_a_call_that_is_not_answered_ends_at_its_deadline(
    start: Start, stand_in: StandIn
) -> None:
    stand_in.hangs = True

    run = await start("run", "walk", patience=500, timeout=300)

    assert await run.ended() == 3, run
    assert "error: DEADLINE_EXCEEDED: " in run.stderr
    assert "run the same line again later" in run.stderr
    assert stand_in.time_left
    await asyncio.wait_for(stand_in.left.wait(), 30)


async def test_an_unreachable_service_is_reported_when_patience_is_exhausted(
    start: Start, stand_in: StandIn
) -> None:
    await stand_in.stop()

    run = await start("stop", REQUEST_ID, patience=500)

    assert await run.ended() == 3, run
    assert "error: UNAVAILABLE: " in run.stderr


async def test_all_addresses_are_called_in_turn(start: Start, stand_ins: list[StandIn]) -> None:
    # One that only ever calls the first address would never come to the second.
    def refuse(asked: object) -> errors.SpinCycleError | None:
        both = all(stand_in.asked for stand_in in stand_ins)
        return None if both else errors.ShuttingDown(service="the Request Manager")

    for stand_in in stand_ins:
        stand_in.refuse = refuse

    run = await ran(start, "watch", REQUEST_ID, of=2)

    assert "ended COMPLETE 0/0" in run.lines, run


async def test_ctrl_c_cancels_the_stream_and_says_how_to_go_on(
    start: Start, stand_in: StandIn
) -> None:
    stand_in.hangs = True
    run = await start("watch", REQUEST_ID)
    await run.until_says(REQUEST_ID)

    run.interrupt()

    assert await run.ended() == 130, run
    # What was shown a moment before may be shown again: a cursor is kept once its event is.
    left = re.search(rf"left; go on with: watch {REQUEST_ID} (\S*)", run.stderr)
    assert left is not None, run
    assert left[1] in {"", "after-nothing"}
    assert "Traceback" not in run.stderr
    await asyncio.wait_for(stand_in.left.wait(), 30)
