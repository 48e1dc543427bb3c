from __future__ import annotations

import pytest
from tests.cli_samples import (
    COMPLETE,
    FAIL,
    PENDING,
    RUNNING,
    START,
    STOPPED,
    at,
    entry,
    request,
    status,
    text_arg,
)

from spincycle.cli.render.layout import (
    entry_lines,
    explain_lines,
    find_lines,
    info_lines,
    ps_lines,
    status_lines,
)
from spincycle.cli.render.text import cell_width
from spincycle.v1 import request_manager_service_pb2, request_pb2, status_pb2


@pytest.fixture(autouse=True)
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")


def test_status_of_a_running_request() -> None:
    running = request(
        type="one", user="alice", total_jobs=5, finished_jobs=2, args=[text_arg("ms", "3000")]
    )

    assert status_lines(running, START + 2) == [
        "   state: RUNNING",
        "progress: 40%",
        " runtime: 2s",
        " request: one",
        "  caller: alice",
        "    args: ms=3000",
    ]


def test_runtime_of_a_finished_request_ends_with_it() -> None:
    finished = request(state=COMPLETE, finished_at=at(7199))

    assert " runtime: 1h59m59s" in status_lines(finished, START + 90000)


def test_a_request_without_jobs_is_zero_percent_done_and_not_started() -> None:
    waiting = request_pb2.Request(id="x", state=PENDING)

    lines = status_lines(waiting, START)

    assert "progress: 0%" in lines
    assert " runtime: not started" in lines


def test_status_shows_required_args_only_and_quotes_them() -> None:
    args = [
        text_arg("a", "two words"),
        text_arg("b", 'say "hi"'),
        text_arg("c", "left-out", kind="optional"),
        text_arg("d", "left-out", kind="static"),
    ]

    assert status_lines(request(args=args), START)[5] == (
        '    args: a="two words" b="say \\"hi\\""'
    )


def test_values_that_are_not_strings_print_as_json() -> None:
    arg = request_pb2.RequestArg(name="hosts", kind="required")
    arg.value.list_value.extend(["web1", 2, True, None])

    assert (
        status_lines(request(args=[arg]), START)[5] == '    args: hosts="[\\"web1\\",2,true,null]"'
    )


def test_a_secret_is_never_shown() -> None:
    lines = status_lines(request(args=[text_arg("password", "hunter2", secret=True)]), START)

    assert lines[5] == "    args: password=***"


def test_status_shows_the_reason_and_the_error() -> None:
    stopped = request(state=STOPPED, state_message="stopped by dana")

    assert status_lines(stopped, START)[-1] == "  reason: stopped by dana"


def test_info_of_a_running_request() -> None:
    running = request(
        runner_address="10.0.0.7:32311",
        finished_jobs=2,
        args=[
            text_arg("a", "1"),
            text_arg("b", "2", kind="optional"),
            text_arg("c", "3", "static"),
        ],
    )

    assert info_lines(running, START + 143) == [
        "      id: dc2c0938di121n1t4i90",
        " request: rolling-restart",
        "  caller: dana",
        " created: 2026-11-23 22:34:52 UTC (2m23s ago)",
        " started: 2026-11-23 22:34:52 UTC (2m23s ago)",
        "finished: ",
        "   state: RUNNING",
        "    host: 10.0.0.7:32311",
        "    jobs: 18 (2 complete)",
        "    args: a=1 b=2",
    ]


def test_ps_lists_jobs_in_the_columns_of_the_original() -> None:
    running = status_pb2.RunningStatus(
        jobs=[
            status_pb2.JobStatus(
                request_id="cabc0123456789defghi",
                name="push-image",
                status="uploading 3/7",
                started_at=at(0),
                try_number=1,
            ),
            status("ABCD", "this-is-a-very-long-job-name", RUNNING, 3, started_at=at(10)),
        ]
    )
    running.requests["cabc0123456789defghi"].CopyFrom(
        request(type="deploy-app", total_jobs=4, finished_jobs=1)
    )

    assert ps_lines(running, START + 12) == [
        (
            "REQUEST              ID                    PRG  USER      RUNTIME  TRY JOB"
            "                    STATUS"
        ),
        (
            "deploy-app           cabc0123456789defghi  25%  dana      12s        1 push-image"
            "             uploading 3/7"
        ),
        (
            "unknown              dc2c0938di121n1t4i90    0            2s         3 this-is-a-.."
            "g-job-name "
        ),
    ]


LONG = "region eu-west / upgrade db05.example.com / configure / verify-replication"


def running_at(path: str) -> status_pb2.RunningStatus:
    job = status("D001", "drain", RUNNING, started_at=at(0), path=path, status="3 left")
    running = status_pb2.RunningStatus(jobs=[job])
    running.requests[job.request_id].CopyFrom(request())
    return running


def test_ps_shows_the_whole_path_of_a_job_in_a_pipe() -> None:
    title, line = ps_lines(running_at("restart-host web2 / drain"), START + 12)

    assert line.endswith("   1 restart-host web2 / drain 3 left")
    assert title.index("STATUS") == line.index("3 left")


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (160, "..eu-west / ..db05.example.com / verify-replication"),
        (80, "..db05.ex..le.com / verify-..cation"),
        (40, "..db..m / v..n"),
    ],
)
def test_ps_shows_the_host_and_the_last_step_of_a_long_path(width: int, shown: str) -> None:
    title, line = ps_lines(running_at(LONG), START + 12, width)

    assert shown in line
    assert max(cell_width(title), cell_width(line)) <= width


def test_explain_shows_the_paths_of_waiting_jobs() -> None:
    explanation = request_manager_service_pb2.ExplainResponse(state=RUNNING)
    explanation.jobs.add(job_id="D001", name="drain", path=LONG, message="its turn")
    explanation.jobs.add(job_id="Rept", name="report", message="its parents")

    assert explain_lines(explanation)[2:] == [
        f"{'JOB':<60} ID   WAITS FOR",
        f"{'..eu-west / ..db05.example.com / verify-replication':<60} D001 its turn",
        f"{'report':<60} Rept its parents",
    ]
    assert [line.split(" D001")[0] for line in explain_lines(explanation, 50)[3:4]] == [
        "..db05.e..le.com / verify..cation"
    ]


def test_find_lists_requests_in_the_columns_of_the_original() -> None:
    found = [
        request(type="greet", user="", state=COMPLETE, finished_at=at(1), finished_jobs=18),
        request_pb2.Request(id="x", type="y", state=9, created_at=at(0)),  # type: ignore[arg-type] # a state of a later version
    ]

    assert find_lines(found) == [
        (
            "ID                   REQUEST                                  USER             "
            "STATE     CREATED                 STARTED                 FINISHED                JOBS"
        ),
        (
            "dc2c0938di121n1t4i90 greet                                                     "
            "COMPLETE  2026-11-23 22:34:52 UTC 2026-11-23 22:34:52 UTC "
            "2026-11-23 22:34:53 UTC 18 / 18"
        ),
        (
            "x                    y                                                         "
            "UNKNOWN   2026-11-23 22:34:52 UTC N/A                     "
            "N/A                     0 / 0"
        ),
    ]


def test_find_fits_a_terminal_of_eighty_columns() -> None:
    lines = find_lines([request(type="a-request-with-quite-a-long-name")], width=80)

    assert max(map(len, lines)) <= 80
    assert lines[1].startswith("dc2c0938di121n1t4i90 ")


def test_a_journal_entry_is_a_block_of_labelled_lines() -> None:
    failed = entry("QCSV", "ls", FAIL, 2, exit=1, error="exit status 2", stderr="ls: no\n")
    failed.started_at.nanos = 598148765
    failed.finished_at.nanos = 602100000

    assert entry_lines(failed) == [
        "job id:   QCSV",
        "job name: ls",
        "job type: ls",
        "state:    FAIL",
        "exit:     1",
        "error:    exit status 2",
        "try:      2",
        "runtime:  1.003951s",
        "started:  2026-11-23 22:34:53.598148765 +0000 UTC",
        "finished: 2026-11-23 22:34:54.6021 +0000 UTC",
        "stdout:   ",
        "stderr:   ls: no\n",
    ]
