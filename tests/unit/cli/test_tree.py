from __future__ import annotations

from typing import Any

from tests.cli_samples import (
    COMPLETE,
    FAIL,
    ID,
    PENDING,
    RUNNING,
    START,
    ChainMaker,
    at,
    request,
    rolling_restart_chain,
    snapshot,
    status,
)

from spincycle.cli.live_request import LiveRequest
from spincycle.cli.render.text import cell_width
from spincycle.cli.render.tree import ASCII, Picture, draw, plain_text

WIDE = Picture(width=100, height=40)


def live_with(*jobs: Any, **fields: Any) -> LiveRequest:
    live = LiveRequest(ID)
    live.apply(snapshot(request(**fields), list(jobs), rolling_restart_chain()))
    return live


HALF_DONE = (
    status("Plan", "plan-order", COMPLETE, started_at=at(0), finished_at=at(0.4)),
    status("S000", "", COMPLETE, started_at=at(1), finished_at=at(1)),
    status("D000", "drain", COMPLETE, started_at=at(1), finished_at=at(2)),
    status("R000", "restart", COMPLETE, started_at=at(2), finished_at=at(4)),
    status("E000", "enable", COMPLETE, started_at=at(4), finished_at=at(4.5)),
    status("S001", "", RUNNING, 2, started_at=at(5)),
    status("D001", "drain", COMPLETE, started_at=at(5), finished_at=at(6)),
    status(
        "R001", "restart", RUNNING, 2, started_at=at(6), status="waiting for port 8001", percent=40
    ),
)


def test_the_whole_tree_of_a_request_that_is_half_done() -> None:
    live = live_with(*HALF_DONE, finished_jobs=9)

    picture = Picture(width=100, height=40, left=14.0)

    assert plain_text(draw(live, START + 75, picture)) == (
        "rolling-restart RUNNING dc2c0938di121n1t4i90\n"
        "━━━━━━━━━━━━────────────  50%  9/18 jobs · 1m15s · about 14s left\n"
        "├─ ✔ plan-order  0.4s\n"
        "├─ ✔ restart-host web1  3.5s\n"
        "│  ├─ ✔ drain  1.0s\n"
        "│  ├─ ✔ restart  2.0s\n"
        "│  └─ ✔ enable  0.5s\n"
        "├─ ● restart-host web2  try 2/2  1m10s\n"
        "│  ├─ ✔ drain  1.0s\n"
        "│  ├─ ● restart  try 2/3  1m9s  40%  waiting for port 8001\n"
        "│  └─ ○ enable\n"
        "└─ ○ report"
    )


def test_finished_sequences_are_folded_first_when_the_terminal_is_low() -> None:
    live = live_with(*HALF_DONE, finished_jobs=9)

    text = plain_text(draw(live, START + 75, Picture(width=100, height=9)))

    assert "├─ ✔ restart-host web1  3.5s  (3 jobs)\n├─ ● restart-host web2" in text
    assert "drain  1.0s" in text
    assert len(text.splitlines()) == 9


def test_waiting_sequences_are_folded_next() -> None:
    live = live_with()

    text = plain_text(draw(live, START, Picture(width=100, height=6)))

    assert text.splitlines()[2:] == [
        "├─ ○ plan-order",
        "├─ ○ restart-host web1  (3 jobs)",
        "├─ ○ restart-host web2  (3 jobs)",
        "└─ ○ report",
    ]


def test_many_neighbours_in_one_state_are_folded_into_one_line() -> None:
    maker = ChainMaker("fan")
    for place in range(50):
        maker.job(f"J{place:03}", "wait", element=str(place))
    live = LiveRequest(ID)
    done = [status(f"J{place:03}", "wait", COMPLETE) for place in range(20)]
    busy = [status("J020", "wait", RUNNING), status("J021", "wait", FAIL, error="no")]
    live.apply(snapshot(request(), [*done, *busy], maker.made()))

    text = plain_text(draw(live, START, Picture(width=100, height=8)))

    assert text.splitlines()[2:] == [
        "├─ ✔ 20 complete: wait 0 … wait 19",
        "├─ ● wait 20",
        "├─ ✘ wait 21  no",
        "└─ ○ 28 waiting: wait 22 … wait 49",
    ]


def test_running_and_failed_jobs_stay_when_the_folded_tree_does_not_fit() -> None:
    maker = ChainMaker("fan")
    states = [RUNNING, COMPLETE, PENDING, FAIL] * 10
    for place in range(40):
        maker.job(f"J{place:03}", "wait", ms=str(place))
    live = LiveRequest(ID)
    live.apply(
        snapshot(
            request(),
            [status(f"J{place:03}", "wait", state) for place, state in enumerate(states)],
            maker.made(),
        )
    )

    lines = plain_text(draw(live, START, Picture(width=60, height=24))).splitlines()

    assert len(lines) == 24
    assert sum("●" in line or "✘" in line for line in lines) == 20
    assert lines[-1] == "… 19 more lines"


def test_no_line_is_wider_than_the_terminal() -> None:
    live = live_with(
        status("Plan", "plan-order", RUNNING, started_at=at(0), status="日本語の長い状態" * 5)
    )

    for width in (10, 20, 40, 61):
        for line in draw(live, START, Picture(width=width, height=40)):
            assert cell_width("".join(text for text, _ in line)) <= width


def test_a_job_that_waits_for_a_retry_shows_when_and_why() -> None:
    live = live_with(
        status(
            "R000",
            "restart",
            RUNNING,
            1,
            started_at=at(1),
            finished_at=at(2),
            retry_at=at(7),
            error="port\n8001 is closed",
        ),
    )

    text = plain_text(draw(live, START + 2, WIDE))

    assert "◌ restart  retry in 5.0s  port 8001 is closed" in text


def test_a_terminal_without_unicode_gets_ascii() -> None:
    live = live_with(*HALF_DONE, finished_jobs=9)

    text = plain_text(draw(live, START + 75, Picture(width=60, height=9, signs=ASCII)))

    assert text.isascii()
    assert "|- + plan-order" in text


def test_a_lost_connection_is_shown_in_the_heading() -> None:
    text = plain_text(draw(live_with(), START, Picture(note="reconnecting")))

    assert text.splitlines()[0].endswith(f"{ID} · reconnecting")


def test_a_long_path_without_a_chain_fits_its_line_and_shows_its_ends() -> None:
    live = LiveRequest(ID)
    path = "region-with-a-long-name / upgrade db05 / " + "configure-" * 20 + " / verify"
    live.apply(snapshot(request(), [status("J001", "verify", FAIL, path=path, error="no")]))

    lines = plain_text(draw(live, START, Picture(width=60, height=8))).splitlines()

    assert lines[2] == "└─ ✘ .. / upgrade db05 / .. / verify  no"
