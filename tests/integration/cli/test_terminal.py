from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
from tests.cli_samples import (
    COMPLETE,
    FAIL,
    ID,
    RUNNING,
    STOPPED,
    at,
    entry,
    request,
    status,
)
from tests.integration.cli.conftest import Ran, Tty
from tests.integration.cli.creation import create_requests, with_plan
from tests.integration.cli.fake_services import FakeServices, Memory
from tests.integration.cli.live_events import begin, end

from spincycle.v1 import request_manager_service_pb2 as rm

OnTty = Callable[..., Tty]
ScreenIs = Callable[[str, str], None]


def test_start_prompts_for_each_argument_and_for_confirmation(
    services: FakeServices, tty: OnTty, screen_is: ScreenIs
) -> None:
    spinc = tty("start", "greet")

    spinc.see("name=")
    spinc.type("zed")
    spinc.see("greeting=")
    spinc.type("")
    spinc.see("to abort: ")
    assert create_requests(services) == []
    spinc.type("ok")

    assert spinc.end() == 0
    assert dict(create_requests(services)[0].args) == {"name": "zed"}
    screen_is("start-prompts", spinc.screen.text)


def test_the_plan_is_shown_before_confirmation_and_its_hash_is_sent(
    services: FakeServices, tty: OnTty, screen_is: ScreenIs
) -> None:
    with_plan(services)
    spinc = tty("start", "rolling-restart", "hosts=web1,web2", NO_COLOR="1")

    spinc.see("to abort: ")
    spinc.type("ok")

    assert spinc.end() == 0
    assert create_requests(services)[0].expected_plan_hash == "ab12"
    screen_is("start-plan", spinc.screen.text)


def test_start_prompts_only_for_missing_arguments_if_some_are_given(tty: OnTty) -> None:
    spinc = tty("start", "greet", "greeting=hi", "--yes")

    spinc.see("name=")
    spinc.type("zed")

    assert spinc.end() == 0
    assert "spinc start greet name=zed greeting=hi" in spinc.screen.text


def test_earlier_values_are_offered_with_tab(services: FakeServices, tty: OnTty) -> None:
    first = tty("start", "greet", "name=zaphod", "--yes")
    assert first.end() == 0

    spinc = tty("start", "greet")
    spinc.see("name=")
    spinc.child.send("za\t")
    spinc.see("zaphod")
    spinc.type("")
    spinc.see("greeting=")
    spinc.type("")
    spinc.see("to abort: ")
    spinc.type("ok")

    assert spinc.end() == 0
    assert dict(create_requests(services)[-1].args) == {"name": "zaphod"}


@pytest.mark.parametrize("place", ["name=", "to abort: "])
def test_the_end_of_the_input_at_a_prompt_starts_nothing(
    services: FakeServices, tty: OnTty, place: str
) -> None:
    spinc = tty("start", "greet", *([] if place == "name=" else ["name=x"]))

    spinc.see(place)
    spinc.child.sendeof()

    assert spinc.end() == 1
    assert "error: the input ended; nothing was started" in spinc.screen.text
    assert create_requests(services) == []


def test_ctrl_c_at_a_prompt_starts_nothing(services: FakeServices, tty: OnTty) -> None:
    spinc = tty("start", "greet")

    spinc.see("name=")
    spinc.interrupt()

    spinc.child.close()
    assert spinc.child.exitstatus == 130
    assert create_requests(services) == []


def test_a_request_is_painted_until_it_ends(
    services: FakeServices, tty: OnTty, screen_is: ScreenIs
) -> None:
    begin(services)
    spinc = tty("watch", ID)
    spinc.see("3 connections left")
    spinc.see("report")
    screen_is("watch-running", spinc.screen.text)

    end(services)

    assert spinc.end() == 0
    screen_is("watch-complete", spinc.screen.text)
    assert spinc.screen.coloured
    assert not spinc.screen.cursor_hidden


def test_no_color_turns_colours_off(services: FakeServices, tty: OnTty) -> None:
    begin(services)
    end(services)

    spinc = tty("watch", ID, NO_COLOR="1")

    assert spinc.end() == 0
    assert not spinc.screen.coloured
    assert "✔ plan-order" in spinc.screen.text


def test_a_small_terminal_shows_running_and_failed_jobs(
    services: FakeServices, tty: OnTty, screen_is: ScreenIs
) -> None:
    begin(services)
    services.job(status("D001", "drain", FAIL, finished_at=at(6), error="日本語のとても長い説明"))
    services.request(ID, state=FAIL, finished_at=at(9))

    spinc = tty("watch", ID, size=(10, 30))

    assert spinc.end() == 1
    screen_is("watch-narrow", spinc.screen.text)


def test_a_resized_terminal_is_repainted(services: FakeServices, tty: OnTty) -> None:
    begin(services)
    spinc = tty("watch", ID)
    spinc.see("report")

    spinc.resize(24, 40)
    spinc.see("\x1b[H\x1b[2J")
    end(services)

    assert spinc.end() == 0
    assert spinc.screen.text.count("rolling-restart") == 1


def test_a_lost_stream_resumes_at_its_cursor(services: FakeServices, tty: OnTty) -> None:
    begin(services)
    spinc = tty("watch", ID)
    spinc.see("3 connections left")

    services.break_streams()
    services.job(status("D001", "drain", RUNNING, started_at=at(5), status="2 connections left"))
    spinc.see("2 connections left")
    end(services)

    assert spinc.end() == 0
    received = [one for one in services.memory.received if isinstance(one, rm.WatchRequest)]
    assert [one.cursor for one in received] == ["", "6"]


def test_a_reconnect_is_shown_before_the_next_event(services: FakeServices, tty: OnTty) -> None:
    begin(services)
    spinc = tty("watch", ID)
    spinc.see("3 connections left")

    services.break_streams()

    spinc.see("reconnecting")
    spinc.lose("reconnecting")
    assert spinc.child.isalive()


def test_ctrl_c_ends_watch_but_not_the_request(services: FakeServices, tty: OnTty) -> None:
    begin(services)
    spinc = tty("watch", ID)
    spinc.see("3 connections left")

    spinc.child.sendintr()

    assert spinc.end() == 130
    assert f"to stop it: spinc stop {ID}" in spinc.screen.text
    assert "Traceback" not in spinc.screen.text
    assert not spinc.screen.cursor_hidden
    assert not [one for one in services.memory.received if isinstance(one, rm.StopRequest)]


def test_ctrl_c_ends_wait_but_not_the_request(services: FakeServices, tty: OnTty) -> None:
    spinc = tty("start", "greet", "name=x", "--yes", "--wait")
    spinc.see("spinc status")
    services.watched()

    spinc.child.sendintr()

    assert spinc.end() == 130
    assert f"to stop it: spinc stop {services.memory.next_id}" in spinc.screen.text


def test_a_terminated_watch_leaves_the_cursor_visible(services: FakeServices, tty: OnTty) -> None:
    begin(services)
    spinc = tty("watch", ID)
    spinc.see("3 connections left")

    spinc.child.kill(signal.SIGTERM)

    assert spinc.end() == 143
    assert not spinc.screen.cursor_hidden
    assert "Traceback" not in spinc.screen.text


def test_job_output_stays_above_the_tree(
    services: FakeServices, tty: OnTty, screen_is: ScreenIs
) -> None:
    begin(services)
    services.entry(entry("D000", "drain", position=1, stdout="draining\x1b[2J web1\ndone\n"))
    spinc = tty("watch", ID, "--follow", NO_COLOR="1")
    spinc.see("done")

    end(services)

    assert spinc.end() == 0
    screen_is("watch-follow", spinc.screen.text)


def test_the_estimate_uses_earlier_requests_of_the_type(services: FakeServices, tty: OnTty) -> None:
    def remember(memory: Memory) -> None:
        memory.requests["earlier"] = request(id="earlier", state=COMPLETE)
        memory.entries["earlier"] = [
            entry("x", name, position=place, started_at=at(0), finished_at=at(3600))
            for place, name in enumerate(("restart", "enable", "report"), 1)
        ]

    services.update(remember)
    begin(services)
    spinc = tty("watch", ID)

    spinc.see("about 3h0m")
    end(services)

    assert spinc.end() == 0


def test_a_dumb_terminal_gets_lines(
    services: FakeServices, tty: OnTty, screen_is: ScreenIs
) -> None:
    begin(services)
    services.request(ID, state=STOPPED, state_message="stopped by dana", finished_at=at(9))

    spinc = tty("watch", ID, TERM="dumb")

    assert spinc.end() == 3
    assert "\x1b" not in spinc.written
    screen_is("watch-lines", spinc.screen.text)


def test_a_pipe_gets_one_line_per_finished_job(
    services: FakeServices, spinc: Callable[..., Ran], screen_is: ScreenIs
) -> None:
    begin(services)
    services.job(status("D001", "drain", FAIL, 3, finished_at=at(6), error="no route"))
    services.request(ID, state=FAIL, finished_at=at(9))

    ran = spinc("watch", ID)

    assert ran.code == 1
    screen_is("watch-pipe", ran.out)


def test_ps_watch_refreshes_until_ctrl_c(services: FakeServices, tty: OnTty) -> None:
    spinc = tty("ps", "--watch", "--interval", "0.1", size=(24, 100))
    spinc.see("no running jobs")

    def run(memory: Memory) -> None:
        memory.running.status.jobs.append(status("D000", "drain", RUNNING, status="3 left"))

    services.update(run)
    spinc.see("3 left")
    spinc.child.sendintr()

    assert spinc.end() == 130


def test_tables_fit_a_narrow_terminal(tty: OnTty, screen_is: ScreenIs) -> None:
    spinc = tty("find", size=(24, 80))

    assert spinc.end() == 0
    screen_is("find-narrow", spinc.screen.text)
