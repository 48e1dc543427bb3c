from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tests.cli_samples import (
    COMPLETE,
    FAIL,
    ID,
    PATHS,
    PENDING,
    RUNNING,
    STOPPED,
    at,
    entry,
    request,
    spec_arg,
    status,
    text_arg,
)
from tests.integration.cli.conftest import Ran
from tests.integration.cli.creation import with_plan
from tests.integration.cli.fake_services import FakeServices, Memory

from spincycle.errors import FieldViolation, InvalidArgs, PlanChanged, RerunNotEnded
from spincycle.v1 import request_manager_service_pb2 as rm
from spincycle.v1 import state_pb2

Spinc = Callable[..., Ran]
ScreenIs = Callable[[str, str], None]

NOT_THERE = "vvvvvvvvvvvvvvvvvvvv"


def received(services: FakeServices, kind: type) -> list[object]:
    return [one for one in services.memory.received if isinstance(one, kind)]


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("listing", []),
        ("help", ["help"]),
        ("help-start", ["help", "start"]),
        ("help-request", ["help", "greet"]),
        ("start", ["start", "greet", "name=zoe"]),
        ("status", ["status", ID]),
        ("info", ["info", ID]),
        ("find", ["find"]),
        ("stop", ["stop", ID]),
        ("plan-json", ["status", ID, "-o", "json"]),
    ],
)
def test_the_output_of_a_command_matches_its_checked_in_screen(
    spinc: Spinc, screen_is: ScreenIs, name: str, args: list[str]
) -> None:
    ran = spinc(*args)

    assert (ran.code, ran.err) == (0, "")
    screen_is(name, ran.out)


@pytest.mark.parametrize("args", [["help"], ["--help"], ["-h"]])
def test_every_form_of_help_prints_the_usage(
    spinc: Spinc, screen_is: ScreenIs, args: list[str]
) -> None:
    screen_is("help", spinc(*args).out)


def test_the_listing_succeeds_without_a_request_manager(spinc: Spinc) -> None:
    ran = spinc("--addr", "127.0.0.1:1")

    assert ran.code == 0
    assert ran.out.splitlines()[:4] == [
        "Request Manager address: 127.0.0.1:1",
        "",
        "Requests:",
        "  error: the request manager at 127.0.0.1:1 cannot be reached; try again in a moment",
    ]


@pytest.mark.parametrize(
    ("args", "code", "line"),
    [
        (["bogus"], 1, "error: unknown command: bogus"),
        (["stauts", ID], 1, "error: unknown command: stauts (did you mean status?)"),
        (["status"], 1, "error: missing argument 'ID'"),
        (["status", NOT_THERE], 1, f"error: request {NOT_THERE} not found"),
        (["stop", NOT_THERE], 1, f"error: request {NOT_THERE} not found"),
        (["log", NOT_THERE], 1, f"error: request {NOT_THERE} not found"),
        (["watch", NOT_THERE], 2, f"error: request {NOT_THERE} not found"),
        (["running", NOT_THERE], 2, f"error: request {NOT_THERE} not found"),
        (["help", "gret"], 1, 'error: there is no request "gret" (did you mean "greet"?)'),
        (["start"], 1, "error: missing argument 'REQUEST'"),
        (["start", "nothing"], 1, 'error: there is no request "nothing"'),
        (["start", "greet"], 1, "error: request greet lacks name"),
        (["plan", "greet"], 1, "error: request greet lacks name"),
        (["log", ID, "--job", "nope"], 1, f"error: request {ID} has no job nope"),
        (["log", ID, "--job", "nope", "-f"], 1, f"error: request {ID} has no job nope"),
        (["find", "states=bogus"], 1, "error: invalid state 'bogus'"),
        (["ps", ID, ID], 1, f"error: got unexpected extra argument ({ID})"),
        (["--timeout", "soon"], 1, 'error: timeout "soon" is not a number of milliseconds above 0'),
        (["--adr", "x"], 1, "error: no such option: --adr (did you mean --addr?)"),
        (
            ["--addr", "127.0.0.1:1", "status", ID],
            1,
            "error: the request manager at 127.0.0.1:1 cannot be reached; try again in a moment",
        ),
    ],
)
def test_an_error_is_one_line_and_a_hint(
    spinc: Spinc, args: list[str], code: int, line: str
) -> None:
    ran = spinc(*args)

    first, *rest = ran.err.splitlines()
    if args[0] != "--timeout":
        assert ran.out == ""
        assert rest
    assert ran.code == code
    assert first.lower() == line.lower()
    assert all(one.startswith("       ") for one in rest)


def test_each_invalid_argument_has_its_own_line(services: FakeServices, spinc: Spinc) -> None:
    wrong = InvalidArgs(
        "2 args of greet cannot be used",
        "greet",
        (FieldViolation("args.name", "is too long"), FieldViolation("args.greeting", "is rude")),
    )

    def fail(memory: Memory) -> None:
        memory.error = wrong

    services.update(fail)

    assert spinc("status", ID).err.splitlines() == [
        "error: 2 args of greet cannot be used",
        "       args.name: is too long",
        "       args.greeting: is rude",
        "       run 'spinc help <request>' to list its arguments",
    ]


def test_start_sends_text_without_defaults_and_with_a_key(
    services: FakeServices, spinc: Spinc
) -> None:
    ran = spinc("start", "rolling-restart", "parallel=1", "hosts=web1,web2", "--plan-hash", "abc")

    assert ran.code == 0
    (message,) = received(services, rm.CreateRequest)
    assert isinstance(message, rm.CreateRequest)
    assert dict(message.args) == {"hosts": "web1,web2"}
    assert message.expected_plan_hash == "abc"
    assert len(message.idempotency_key) == 36


def test_a_plan_that_has_changed_is_not_started(services: FakeServices, spinc: Spinc) -> None:
    def fail(memory: Memory) -> None:
        memory.error = PlanChanged("abc", "def")

    services.update(fail)

    ran = spinc("start", "greet", "name=x", "--plan-hash", "abc")

    assert ran.code == 1
    assert "the plan's hash is now def, not abc" in ran.err


def test_options_are_accepted_before_and_after_the_command(spinc: Spinc) -> None:
    assert spinc("-o", "name", "status", ID).out == f"{ID}\n"
    assert spinc("status", "-o", "name", ID).out == f"{ID}\n"


def test_start_repeats_the_given_options(spinc: Spinc) -> None:
    out = spinc("start", "--env", "my env", "greet", "name=a b").out

    assert '# spinc --env "my env" start greet name="a b"' in out
    assert "spinc status --env" in out


@pytest.mark.parametrize(
    ("state", "code"), [(PENDING, 0), (RUNNING, 0), (COMPLETE, 1), (FAIL, 1), (STOPPED, 1)]
)
def test_running_prints_nothing_and_exits_by_state(
    services: FakeServices, spinc: Spinc, state: state_pb2.State.ValueType, code: int
) -> None:
    services.request(ID, state=state)

    assert spinc("running", ID) == Ran(code, "", "")


@pytest.mark.parametrize(("state", "code"), [(COMPLETE, 0), (FAIL, 1), (STOPPED, 3)])
def test_wait_exits_by_final_state(
    services: FakeServices, spinc: Spinc, state: state_pb2.State.ValueType, code: int
) -> None:
    def prepare(memory: Memory) -> None:
        memory.requests[memory.next_id] = request(id=memory.next_id, state=state)

    services.update(prepare)

    assert spinc("start", "greet", "name=x", "--wait").code == code
    assert spinc("watch", services.memory.next_id).code == code


def test_a_group_without_a_subcommand_prints_its_help(spinc: Spinc) -> None:
    ran = spinc("context")

    assert (ran.code, ran.err) == (0, "")
    assert "Make a context the current one." in ran.out


def test_the_version_is_printed_in_every_format(spinc: Spinc) -> None:
    version = spinc("version", "-o", "name").out.strip()

    assert json.loads(spinc("version", "-o", "json").out) == {"version": version}
    assert spinc("version").out == f"spinc {version}\n"


def test_an_empty_environment_variable_counts_as_unset(
    spinc: Spinc, environment: dict[str, str]
) -> None:
    address = environment["SPINC_ADDR"]

    assert spinc("--addr", address, "status", ID, SPINC_ADDR="", SPINC_TIMEOUT="").code == 0


def test_stop_warns_if_the_request_was_complete(services: FakeServices, spinc: Spinc) -> None:
    services.request(ID, state=COMPLETE)

    ran = spinc("stop", ID)

    assert (ran.code, ran.out) == (0, f"OK, stopped {ID}\n")
    assert ran.err == "warning: the request was already COMPLETE; nothing was stopped\n"


def test_start_follow_prints_the_output_of_jobs(services: FakeServices, spinc: Spinc) -> None:
    def prepare(memory: Memory) -> None:
        made = memory.next_id
        memory.requests[made] = request(id=made, state=COMPLETE)
        memory.chains[made] = memory.chains[ID]
        memory.entries[made] = [
            entry("D000", "drain", position=1, request_id=made, stdout="3 connections closed")
        ]

    services.update(prepare)

    ran = spinc("start", "greet", "name=x", "--follow")

    assert ran.code == 0
    assert "   3 connections closed\n" in ran.out


def test_ps_prints_nothing_without_running_jobs(spinc: Spinc) -> None:
    assert spinc("ps") == Ran(0, "", "")


def test_ps_lists_running_jobs_and_warns_of_silent_runners(
    services: FakeServices, spinc: Spinc, screen_is: ScreenIs
) -> None:
    def run(memory: Memory) -> None:
        jobs = memory.running.status.jobs
        jobs.append(status("D000", "drain", RUNNING, status="3 connections left"))
        memory.running.status.requests[ID].CopyFrom(request(finished_jobs=2))
        memory.running.silent_runner_ids.append("runner-7")

    services.update(run)

    ran = spinc("ps")

    screen_is("ps", ran.out)
    assert ran.err == "warning: runner runner-7 did not respond; its jobs are not listed\n"
    assert spinc("ps", "another").out == ""


def test_find_reads_pages_up_to_its_limit(services: FakeServices, spinc: Spinc) -> None:
    def fill(memory: Memory) -> None:
        for number in range(250):
            memory.requests[f"{number:020}"] = request(id=f"{number:020}", type="many")

    services.update(fill)

    assert len(spinc("find", "type=many", "limit=120", "-o", "name").out.splitlines()) == 120
    assert len(spinc("find", "type=many", "limit=0", "-o", "name").out.splitlines()) == 250
    assert spinc("find", "type=many", "offset=3", "limit=1", "-o", "name").out == f"{3:020}\n"
    assert spinc("find", "type=none").out == ""


def test_the_log_is_sorted_by_the_end_of_each_try_and_separated(
    services: FakeServices, spinc: Spinc, screen_is: ScreenIs
) -> None:
    services.entry(entry("B000", "restart", position=1, finished_at=at(9)))
    services.entry(entry("A000", "drain", FAIL, position=2, finished_at=at(3), error="no route"))
    services.entry(entry("A000", "drain", COMPLETE, 2, position=3, finished_at=at(5)))

    screen_is("log", spinc("log", ID).out)
    assert spinc("log", ID, "-o", "name").out.split() == ["A000/1", "A000/2", "B000/1"]
    assert spinc("log", ID, "-o", "name", "--failed").out.split() == ["A000/1"]
    assert spinc("log", ID, "-o", "name", "--job", "drain").out.split() == ["A000/1", "A000/2"]
    assert spinc("log", ID, "-o", "name", "B000").out.split() == ["B000/1"]
    assert spinc("log", ID, "B000", "--job", "B000").err.splitlines() == [
        "error: JOB is given twice",
        "       leave out --job",
    ]


def test_log_follow_ends_with_its_request(services: FakeServices, spinc: Spinc) -> None:
    services.entry(entry("A000", "drain", position=1))
    services.entry(entry("B000", "restart", position=2))
    services.request(ID, state=COMPLETE)

    assert spinc("log", ID, "--follow", "-o", "name").out.split() == ["A000/1", "B000/1"]


def test_output_as_json_and_names(services: FakeServices, spinc: Spinc) -> None:
    services.entry(entry("A000", "drain", position=1))

    assert spinc("-o", "name").out.split() == ["greet", "rolling-restart"]
    assert json.loads(spinc("find", "-o", "json").out)[0]["state"] == "RUNNING"
    assert json.loads(spinc("log", ID, "-o", "json").out)[0]["jobId"] == "A000"
    assert json.loads(spinc("start", "greet", "name=x", "-o", "json").out)["type"] == "greet"


def test_streams_are_printed_as_one_line_of_json_per_item(
    services: FakeServices, spinc: Spinc
) -> None:
    services.entry(entry("A000", "drain", position=1))
    services.entry(entry("B000", "restart", position=2))
    services.request(ID, state=FAIL)

    entries = spinc("log", ID, "--follow", "-o", "json").out.splitlines()
    events = spinc("watch", ID, "-o", "json")

    assert [json.loads(line)["jobId"] for line in entries] == ["A000", "B000"]
    assert json.loads(events.out)["snapshot"]["request"]["state"] == "FAIL"
    assert events.code == 1


def test_a_secret_argument_stays_secret(services: FakeServices, spinc: Spinc) -> None:
    def fill(memory: Memory) -> None:
        memory.specs[0].args.append(spec_arg("password", "", "", secret=True))
        memory.requests[ID].args.append(text_arg("password", "hunter2", secret=True))

    services.update(fill)

    outputs = [
        spinc("start", "greet", "name=x", "password=hunter2").out,
        spinc("status", ID).out,
        spinc("info", ID, "-o", "json").out,
    ]
    assert not any("hunter2" in out for out in outputs)


def test_stop_suspend_resume_rerun_and_skip_send_their_options(
    services: FakeServices, spinc: Spinc
) -> None:
    assert spinc("stop", ID, "--reason", "wrong cluster").out == f"OK, stopped {ID}\n"
    assert spinc("suspend", ID).out == f"OK, suspended {ID}\n"
    assert spinc("resume", ID).out == f"OK, resumed {ID}\n"
    assert spinc("rerun", ID, "--job", "D000", "--job", "D001").code == 0
    assert spinc("skip", ID, "D000", "--reason", "done by hand").code == 0

    (stop,) = received(services, rm.StopRequest)
    (rerun,) = received(services, rm.RerunRequest)
    (skip,) = received(services, rm.SkipRequest)
    assert isinstance(stop, rm.StopRequest)
    assert isinstance(rerun, rm.RerunRequest)
    assert isinstance(skip, rm.SkipRequest)
    assert stop.reason == "wrong cluster"
    assert list(rerun.job_ids) == ["D000", "D001"]
    assert (list(skip.job_ids), skip.reason) == (["D000"], "done by hand")


@pytest.mark.parametrize("rest", [False, True], ids=["gRPC", "REST"])
def test_again_allows_concurrent_reruns(services: FakeServices, spinc: Spinc, rest: bool) -> None:
    over = ["--rest", services.gateway] if rest else []
    skip = ["skip", ID, "D000", "--reason", "done by hand"]
    for command in (["rerun", ID], ["rerun", ID, "--again"], skip, [*skip, "--again"]):
        assert spinc(*over, *command).code == 0

    calls = [*received(services, rm.RerunRequest), *received(services, rm.SkipRequest)]
    allowed = [
        one.allow_concurrent for one in calls if isinstance(one, rm.RerunRequest | rm.SkipRequest)
    ]
    assert allowed == [False, True, False, True]


def test_a_rerun_beside_a_live_one_is_refused_with_what_to_do(
    services: FakeServices, spinc: Spinc
) -> None:
    other = "dc2c07b8di121n1t4i50"
    services.update(lambda memory: setattr(memory, "error", RerunNotEnded(ID, other, "RUNNING")))

    error, hint = spinc("rerun", ID).err.splitlines()
    assert error.startswith(
        f"error: request {ID} is run again by request {other}, which is RUNNING"
    )
    assert hint == "       --again runs both at once"


@pytest.mark.parametrize("way", ["grpc", "rest"])
def test_rerun_and_skip_accept_the_path_of_a_job(
    services: FakeServices, spinc: Spinc, way: str
) -> None:
    options = ["--rest", services.gateway] if way == "rest" else []
    jobs = ["--job", "restart-host web1 / drain", "--job", "web2/enable", "--job", "report"]

    again = spinc(*options, "rerun", ID, *jobs)
    skipped = spinc(*options, "skip", ID, "web2 / restart", "--reason", "not needed")

    (rerun,) = received(services, rm.RerunRequest)
    (skip,) = received(services, rm.SkipRequest)
    assert isinstance(rerun, rm.RerunRequest)
    assert isinstance(skip, rm.SkipRequest)
    assert list(rerun.job_ids) == ["D000", "E001", "Rept"]
    assert list(skip.job_ids) == ["R001"]
    assert again.out.splitlines()[1:4] == [
        "  runs again: restart-host web1 / drain (D000)",
        "  runs again: restart-host web2 / enable (E001)",
        "  runs again: report (Rept)",
    ]
    assert skipped.out.splitlines()[1] == "  skipped: restart-host web2 / restart (R001)"


@pytest.mark.parametrize("way", ["grpc", "rest"])
def test_an_ambiguous_or_unknown_job_is_not_run_again_or_skipped(
    services: FakeServices, spinc: Spinc, way: str
) -> None:
    options = ["--rest", services.gateway] if way == "rest" else []
    services.entry(entry("D000", "drain", FAIL, position=1))
    candidates = [
        f"error: 2 jobs of request {ID} match drain",
        "       D000  restart-host web1 / drain  FAIL",
        "       D001  restart-host web2 / drain  PENDING",
        "       give the id or the path of one",
    ]

    assert spinc(*options, "skip", ID, "drain", "--reason", "x").err.splitlines() == candidates
    assert spinc(*options, "rerun", ID, "--job", "drain").err.splitlines() == candidates
    assert spinc(*options, "skip", ID, "web1/drian", "--reason", "x").err.splitlines() == [
        f"error: request {ID} has no job web1/drian",
        '       did you mean "restart-host web1 / drain"?',
        '       did you mean "restart-host web2 / drain"?',
        f"       run 'spinc log {ID}' to list the jobs that ran",
    ]
    assert received(services, rm.SkipRequest) == []
    assert received(services, rm.RerunRequest) == []


@pytest.mark.parametrize("way", ["grpc", "rest"])
def test_log_prints_the_entries_of_the_jobs_that_match(
    services: FakeServices, spinc: Spinc, way: str
) -> None:
    options = ["--rest", services.gateway] if way == "rest" else []
    ran = [("D000", "drain"), ("R000", "restart"), ("D001", "drain"), ("Rept", "report")]
    for place, (job_id, name) in enumerate(ran, 1):
        services.entry(entry(job_id, name, position=place))

    def printed(*words: str) -> list[str]:
        return spinc(*options, "log", ID, "-o", "name", *words).out.split()

    assert printed("drain") == ["D000/1", "D001/1"]
    assert printed("web1/drain") == ["D000/1"]
    assert printed("--job", "restart-host web2 / drain") == ["D001/1"]
    assert printed("restart") == ["R000/1"]
    assert printed("R001") == printed("drain", "--failed") == []


def test_explain_shows_what_each_job_waits_for(
    services: FakeServices, spinc: Spinc, screen_is: ScreenIs
) -> None:
    def fill(memory: Memory) -> None:
        memory.explained.state = RUNNING
        memory.explained.message = "a live runner"
        memory.explained.jobs.add(
            job_id="D001",
            name="drain",
            message="2 of 2 hosts in flight",
            path="restart-host web2 / drain",
        )

    services.update(fill)

    screen_is("explain", spinc("explain", ID).out)


@pytest.mark.parametrize("way", ["grpc", "rest"])
def test_explain_shows_only_the_given_job(services: FakeServices, spinc: Spinc, way: str) -> None:
    options = ["--rest", services.gateway] if way == "rest" else []

    def fill(memory: Memory) -> None:
        memory.explained.state = RUNNING
        for job_id in ("D001", "Rept"):
            memory.explained.jobs.add(job_id=job_id, path=PATHS[job_id], message="its parents")
        memory.running.status.jobs.append(status("D000", "drain", RUNNING))
        memory.running.has_running_requests = True

    services.update(fill)

    assert spinc(*options, "explain", ID, "web2/drain").out.splitlines() == [
        "   state: RUNNING",
        "",
        "JOB                       ID   WAITS FOR",
        "restart-host web2 / drain D001 its parents",
    ]
    assert spinc(*options, "explain", ID, "web1/drain").out.splitlines() == [
        "   state: RUNNING",
        "",
        "restart-host web1 / drain (D000) is RUNNING",
    ]


def test_a_plan_is_an_outline_with_its_hash(
    services: FakeServices, spinc: Spinc, screen_is: ScreenIs
) -> None:
    with_plan(services)

    screen_is("plan", spinc("plan", "rolling-restart", "hosts=web1,web2").out)
    assert spinc("plan", "rolling-restart", "hosts=web1,web2", "-o", "name").out == "ab12\n"


def test_plan_diff_prints_the_differences(services: FakeServices, spinc: Spinc) -> None:
    with_plan(services)
    same = ("plan", "rolling-restart", "hosts=web1,web2", "--diff", ID)

    assert spinc(*same).out == "no differences\n"
    assert json.loads(spinc(*same, "-o", "json").out) == []

    def change(memory: Memory) -> None:
        for job in memory.chains[ID].jobs:
            job.name = "summary" if job.name == "report" else job.name

    services.update(change)
    changes = spinc(*same).out.splitlines()
    assert [change.partition(" ")[0] for change in changes] == ["+", "-"]
    assert json.loads(spinc(*same, "-o", "json").out) == changes
