"""spinc prints the output of running jobs by line, once, also after a reconnect."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from tests.cli_samples import COMPLETE, FAIL, ID, PATHS, entry
from tests.integration.cli.conftest import Ran, Tty
from tests.integration.cli.creation import with_plan
from tests.integration.cli.fake_services import FakeServices
from tests.integration.cli.live_events import begin, end

from spincycle.v1 import job_output_pb2

Spinc = Callable[..., Ran]
OnTty = Callable[..., Tty]

DUMB = {"TERM": "dumb"}
"""A dumb terminal: it gets lines as a pipe does, but without buffering."""


def piece(
    text: str,
    offset: int = 0,
    stream: Any = job_output_pb2.OUTPUT_STREAM_STDOUT,
    job: str = "D000 drain",
) -> job_output_pb2.JobOutput:
    job_id, name = job.split()
    made = job_output_pb2.JobOutput(
        request_id=ID,
        job_id=job_id,
        name=name,
        stream=stream,
        offset=offset,
        data=text.encode(),
        path=PATHS[job_id],
    )
    made.try_number = 1
    return made


def lines_of(spinc: Tty) -> list[str]:
    return [line.rstrip() for line in spinc.written.replace("\r\n", "\n").splitlines()]


@pytest.fixture(params=["grpc", "rest"])
def way(request: pytest.FixtureRequest, services: FakeServices) -> list[str]:
    """Options that select the transport."""
    return ["--rest", services.gateway] if request.param == "rest" else []


def test_log_follow_prints_lines_while_the_job_runs(
    services: FakeServices, tty: OnTty, way: list[str]
) -> None:
    spinc = tty(*way, "log", ID, "--follow", **DUMB)
    services.prints(piece("draining\n3 left\nhal"))
    spinc.see("restart-host web1 / drain D000/1 | 3 left")
    services.prints(piece("oops\n", 0, job_output_pb2.OUTPUT_STREAM_STDERR))
    spinc.see("restart-host web1 / drain D000/1 ! oops")
    services.prints(piece("f\n", 19))
    spinc.see("restart-host web1 / drain D000/1 | half")
    services.entry(
        entry(
            "D000",
            "drain",
            FAIL,
            position=1,
            error="no route",
            stdout="draining\n3 left\nhalf\nlast\n",
            stderr="oops\n",
        )
    )
    spinc.see("finished:")
    services.request(ID, state=COMPLETE)

    assert spinc.end() == 0
    lines = lines_of(spinc)
    assert lines[:6] == [
        "restart-host web1 / drain D000/1 | draining",
        "restart-host web1 / drain D000/1 | 3 left",
        "restart-host web1 / drain D000/1 ! oops",
        "restart-host web1 / drain D000/1 | half",
        "restart-host web1 / drain D000/1 | last",
        "--",
    ]
    assert [line.split(":")[0] for line in lines[6:]] == [
        "job path",
        "job id",
        "job name",
        "job type",
        "state",
        "exit",
        "error",
        "try",
        "runtime",
        "started",
        "finished",
    ]


def test_no_line_is_lost_or_repeated_after_a_reconnect(
    services: FakeServices, tty: OnTty, way: list[str]
) -> None:
    spinc = tty(*way, "log", ID, "--follow", **DUMB)
    services.prints(piece("one\ntw"))
    spinc.see("| one")

    services.break_streams()
    services.prints(piece("o\nthree\n", 6))
    spinc.see("| three")
    services.break_streams()
    services.entry(entry("D000", "drain", position=1, stdout="one\ntwo\nthree\nfour\n"))
    services.request(ID, state=COMPLETE)

    assert spinc.end() == 0
    printed = [line for line in lines_of(spinc) if "|" in line]
    assert [line.split("| ")[1] for line in printed] == ["one", "two", "three", "four"]


def test_a_gap_is_marked(services: FakeServices, tty: OnTty, way: list[str]) -> None:
    spinc = tty(*way, "log", ID, "--follow", **DUMB)
    services.prints(piece("one\n"))
    services.prints(piece("late\n", 1004))
    spinc.see("late")
    services.request(ID, state=COMPLETE)

    assert spinc.end() == 0
    assert lines_of(spinc) == [
        "restart-host web1 / drain D000/1 | one",
        "restart-host web1 / drain D000/1 | [... 1000 bytes missed ...]",
        "restart-host web1 / drain D000/1 | late",
    ]


@pytest.mark.parametrize("job", ["D000", "web1/drain", "restart-host web1 / drain"])
def test_log_follow_prints_only_the_given_job(
    services: FakeServices, tty: OnTty, way: list[str], job: str
) -> None:
    with_plan(services)
    services.prints(piece("no\n", job="D001 drain"))
    spinc = tty(*way, "log", ID, job, "--follow", **DUMB)
    services.prints(piece("yes\n"))
    spinc.see("| yes")
    services.request(ID, state=COMPLETE)

    assert spinc.end() == 0
    assert lines_of(spinc) == ["restart-host web1 / drain D000/1 | yes"]


def test_a_narrow_terminal_shows_the_host_and_the_last_step_of_each_line(
    services: FakeServices, tty: OnTty
) -> None:
    output = piece("one\n")
    output.path = "region-with-a-long-name / restart-host web1 / checks / drain-connections"
    spinc = tty("log", ID, "--follow", size=(24, 60), **DUMB)
    services.prints(output)
    spinc.see("| one")
    services.request(ID, state=COMPLETE)

    assert spinc.end() == 0
    assert lines_of(spinc) == ["..web1 / drain-c..ctions D000/1 | one"]


def test_an_incomplete_line_is_printed_without_an_entry(services: FakeServices, tty: OnTty) -> None:
    spinc = tty("log", ID, "--follow", **DUMB)
    services.prints(piece("one\npassword? "))
    spinc.see("| one")
    services.request(ID, state=COMPLETE)

    assert spinc.end() == 0
    assert lines_of(spinc) == [
        "restart-host web1 / drain D000/1 | one",
        "restart-host web1 / drain D000/1 | password?",
    ]


def test_json_has_one_document_per_piece_of_output(
    services: FakeServices, tty: OnTty, way: list[str]
) -> None:
    spinc = tty(*way, "log", ID, "--follow", "-o", "json", size=(24, 2000), **DUMB)
    services.prints(piece("one\n"))
    spinc.see("one")
    services.entry(entry("D000", "drain", position=1, stdout="one\ntwo\n"))
    services.request(ID, state=COMPLETE)

    assert spinc.end() == 0
    first, second, last = (json.loads(line) for line in lines_of(spinc))
    assert first == {
        "requestId": ID,
        "jobId": "D000",
        "try": 1,
        "name": "drain",
        "stream": "STDOUT",
        "offset": 0,
        "data": "one\n",
        "path": "restart-host web1 / drain",
    }
    assert (second["offset"], second["data"]) == (4, "two\n")
    assert (last["state"], last["stdout"]) == ("COMPLETE", "one\ntwo\n")


def test_watch_prints_each_line_once_above_the_tree(
    services: FakeServices, tty: OnTty, way: list[str]
) -> None:
    begin(services)
    spinc = tty(*way, "watch", ID, "--follow", NO_COLOR="1")
    spinc.show("3 connections left")
    services.prints(piece("draining\x1b[2J web1\nalmost"))
    spinc.show("restart-host web1 / drain, try 1 | draining[2J web1")
    services.entry(entry("D000", "drain", position=1, stdout="draining\x1b[2J web1\nalmost done\n"))
    spinc.show("-- restart-host web1 / drain, try 1: COMPLETE")
    end(services)

    assert spinc.end() == 0
    screen = spinc.screen.text
    assert screen.count("web1 / drain, try 1 | draining") == 1
    assert "restart-host web1 / drain, try 1 | almost done\n" in screen
    assert "   draining" not in screen


def test_watch_on_a_pipe_prints_output_lines(
    services: FakeServices, tty: OnTty, way: list[str]
) -> None:
    begin(services)
    spinc = tty(*way, "watch", ID, "--follow", **DUMB)
    services.prints(piece("draining\n"))
    spinc.see("restart-host web1 / drain, try 1 | draining")
    end(services)

    assert spinc.end() == 0


def test_watch_as_json_prints_output_as_events(
    services: FakeServices, tty: OnTty, way: list[str]
) -> None:
    spinc = tty(*way, "watch", ID, "--follow", "-o", "json", size=(24, 2000), **DUMB)
    services.prints(piece("one\n"))
    spinc.see('"output"')
    services.entry(entry("D000", "drain", position=1, stdout="one\ntwo\n"))
    services.request(ID, state=COMPLETE)

    assert spinc.end() == 0
    output = [json.loads(line).get("output") for line in lines_of(spinc)]
    assert [one["data"] for one in output if one] == ["one\n", "two\n"]
    assert [one["offset"] for one in output if one] == [0, 4]
