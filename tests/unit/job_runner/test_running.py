from __future__ import annotations

import asyncio

import pytest
from tests.unit.chain.chains import chain
from tests.unit.job_runner.stage import (
    Play,
    Scripted,
    Stage,
    fails,
    returns,
    turns,
    works_until_stopped,
)

from spincycle.job import Return, State
from spincycle.model.job_chain import BackoffPolicy, Value
from spincycle.model.revision import number_of

COMPLETE, FAIL, STOPPED = State.COMPLETE, State.FAIL, State.STOPPED


async def test_a_chain_runs_to_its_end_and_is_removed(stage: Stage) -> None:
    report = await stage.run(chain("A > b c > d > E"))

    assert (report.state, report.complete_jobs, report.reason) == (COMPLETE, 5, "")
    assert sorted(stage.runs) == ["b", "c", "d"]
    assert stage.runs[-1] == "d"
    assert stage.runner.chains == stage.runner.jobs == 0
    assert [entry.position for entry in stage.journal.entries] == [1, 2, 3, 4, 5]


async def test_entries_events_and_the_reason_have_the_path_of_a_job(stage: Stage) -> None:
    stage.plays["b"] = [fails("disk full")]

    report = await stage.run(chain("A > b > C", jobs={"b": {"path": "upgrade h05 / verify"}}))

    assert report.reason == "job upgrade h05 / verify (b) failed: disk full"
    paths = {(entry.job_id, entry.path) for entry in stage.journal.entries}
    assert paths == {("A", ""), ("b", "upgrade h05 / verify")}
    events = {event.job.path for event in stage.watcher.events if event.job.job_id == "b"}
    assert events == {"upgrade h05 / verify"}


async def test_a_long_path_leaves_room_for_the_error_in_the_reason(stage: Stage) -> None:
    stage.plays["b"] = [fails("disk full")]

    report = await stage.run(chain("A > b > C", jobs={"b": {"path": "x" * 512}}))

    assert report.reason.endswith(" (b) failed: disk full")


async def test_a_failed_branch_does_not_hold_up_the_others(stage: Stage) -> None:
    stage.plays["b"] = [fails("disk full")]

    report = await stage.run(chain("a > b > c > f; a > d > e > f"))

    assert (report.state, report.complete_jobs) == (FAIL, 3)
    assert report.reason == "job b (b) failed: disk full"
    assert "c" not in stage.runs
    assert "e" in stage.runs
    assert "f" not in stage.runs


async def test_a_failed_job_is_tried_again_until_its_tries_are_used_up(stage: Stage) -> None:
    stage.plays["b"] = [fails()]

    report = await stage.run(chain("a > b", jobs={"b": {"retry": 2}}))

    assert report.state is FAIL
    assert stage.journal.log("b") == [("b", 1, FAIL), ("b", 2, FAIL), ("b", 3, FAIL)]
    assert [entry.final for entry in stage.journal.entries] == [False, False, False, True]


async def test_a_chain_continues_after_a_retry_succeeds(stage: Stage) -> None:
    stage.plays["a"] = [fails(), fails(), fails(), returns(COMPLETE)]

    report = await stage.run(chain("a > b", jobs={"a": {"retry": 5, "retry_wait": "1ms"}}))

    assert report.state is COMPLETE
    assert stage.journal.log("a") == [("a", n, FAIL) for n in (1, 2, 3)] + [("a", 4, COMPLETE)]


async def test_tries_of_one_run_share_an_object_and_sequence_retries_do_not(stage: Stage) -> None:
    seen: list[int] = []

    async def play(job: Scripted, data: dict[str, Value]) -> Return:
        seen.append(id(job))
        stage.plays.setdefault("kept alive", []).append(lambda *_: job)  # type: ignore[arg-type] # only a reference
        return Return(FAIL)

    stage.plays["a"] = [play]
    await stage.run(chain("a", jobs={"a": {"retry": 1, "sequence_retry": 1}}))

    assert seen[0] == seen[1] != seen[2] == seen[3]


async def test_the_log_is_numbered_over_sequence_retries(stage: Stage) -> None:
    stage.plays["bad"] = [fails()]
    flaky = chain(
        "R > P > ok > bad > Q > S",
        sequences={"P": "P ok bad Q"},
        jobs={"P": {"sequence_retry": 2}, "bad": {"retry": 1}},
    )

    report = await stage.run(flaky)

    assert report.state is FAIL
    assert report.complete_jobs == 3
    assert [n for _, n, _ in stage.journal.log("ok")] == [1, 2, 3]
    assert [n for _, n, _ in stage.journal.log("bad")] == [1, 2, 3, 4, 5, 6]
    tries = [entry.sequence_try for entry in stage.journal.entries if entry.job_id == "bad"]
    assert tries == [1, 1, 2, 2, 3, 3]


async def test_two_parallel_failures_lead_to_one_restart(stage: Stage) -> None:
    stage.plays |= {"b": [fails(), returns(COMPLETE)], "c": [fails(), returns(COMPLETE)]}

    report = await stage.run(chain("A > b c > D", jobs={"A": {"sequence_retry": 1}}))

    assert report.state is COMPLETE
    assert stage.journal.log("A") == [("A", 1, COMPLETE), ("A", 2, COMPLETE)]
    assert sorted(stage.runs) == ["b", "b", "c", "c"]


async def test_a_sequence_waits_for_its_running_jobs_before_it_starts_again(stage: Stage) -> None:
    hold = asyncio.Event()

    async def held(job: Scripted, data: dict[str, Value]) -> Return:
        await hold.wait()
        return Return(COMPLETE)

    stage.plays |= {"b": [fails(), returns(COMPLETE)], "c": [held]}
    stage.runner.run(chain("A > b c > D", jobs={"A": {"sequence_retry": 1}}), 1)
    await turns()
    assert stage.journal.log("b") == [("b", 1, FAIL)]
    assert stage.runs == ["b", "c"]

    hold.set()

    assert (await stage.reports.end()).state is COMPLETE
    assert stage.runs == ["b", "c", "b", "c"]


async def test_an_outer_sequence_retries_what_an_inner_one_could_not(stage: Stage) -> None:
    stage.plays["c"] = [fails(), fails(), fails(), returns(COMPLETE)]
    nested = chain(
        "A > b > I > c > J > D",
        sequences={"I": "I c J"},
        jobs={"A": {"sequence_retry": 1}, "I": {"sequence_retry": 1}},
    )

    report = await stage.run(nested)

    assert report.state is COMPLETE
    assert stage.runs == ["b", "c", "c", "b", "c", "c"]


@pytest.mark.parametrize(
    ("play", "says"),
    [
        (returns(State.UNKNOWN), "run returned invalid state UNKNOWN (0)"),
        (returns(State.PENDING), "run returned invalid state PENDING (1)"),
        (returns(State.RUNNING, error="hm"), "run returned invalid state RUNNING (2): hm"),
        (returns(State.RESERVED), "run returned invalid state RESERVED (5)"),
        (returns(State.SUSPENDED), "run returned invalid state SUSPENDED (7)"),
        (returns(99), "run returned invalid state '99' (int)"),  # type: ignore[arg-type] # nonsense on purpose
        (returns(STOPPED), "run returned STOPPED, but the job was not stopped"),
        (returns(COMPLETE, exit="one"), "run returned invalid exit code 'one' (str)"),
        (returns(COMPLETE, exit=2**70), f"run returned invalid exit code '{2**70}' (int)"),
    ],
)
async def test_an_invalid_return_is_a_failure_with_a_reason(
    stage: Stage, play: Play, says: str
) -> None:
    stage.plays["a"] = [play]

    report = await stage.run(chain("a > b"))

    assert report.state is FAIL
    assert stage.journal.errors("a") == [says]


async def test_a_job_that_returns_nothing_has_failed(stage: Stage) -> None:
    async def nothing(job: Scripted, data: dict[str, Value]) -> Return:
        return None  # type: ignore[return-value] # nonsense on purpose

    stage.plays["a"] = [nothing]
    await stage.run(chain("a"))

    assert stage.journal.errors("a") == ["run returned 'None' (NoneType), which is not a Return"]


async def test_what_a_job_returns_is_stored_in_its_entry(stage: Stage) -> None:
    stage.plays["a"] = [returns(FAIL, exit=7, error="no", stdout="out", stderr="err\0\ud800")]

    await stage.run(chain("a"))

    (entry,) = stage.journal.entries
    assert (entry.exit, entry.error, entry.stdout) == (7, "no", "out")
    assert entry.stderr == "err\ufffd?"
    assert 0 < entry.started_at < entry.finished_at
    assert (entry.name, entry.type, entry.sequence_id, entry.epoch) == ("a", "test", "a", 1)


async def test_a_wait_between_tries_grows_by_its_backoff(stage: Stage) -> None:
    stage.plays["a"] = [fails(), returns(COMPLETE)]
    growing = BackoffPolicy(factor=2, max_wait=0.001)

    report = await stage.run(
        chain("a", jobs={"a": {"retry": 1, "retry_wait": "1h", "backoff": growing}})
    )

    assert report.state is COMPLETE
    waits = [event.job for event in stage.watcher.events if event.job.retry_at]
    assert [(job.state, job.status) for job in waits] == [(State.PENDING, "(retry sleep)")]


async def test_elements_start_in_list_order_as_earlier_ones_end(stage: Stage) -> None:
    elements = [(name, name) for name in "bcde"]

    report = await stage.run(chain("A > b c d e > F", limits=[(1, elements)]))

    assert report.state is COMPLETE
    assert stage.runs == list("bcde")


async def test_a_failed_element_keeps_its_place(stage: Stage) -> None:
    stage.plays["c"] = [fails()]
    elements = [(name, name) for name in "bcde"]

    report = await stage.run(chain("A > b c d e > F", limits=[(1, elements)]))

    assert report.state is FAIL
    assert stage.runs == ["b", "c"]


async def test_counts_never_go_down_for_a_watcher(stage: Stage) -> None:
    stage.plays["c"] = [fails(), returns(COMPLETE)]

    await stage.run(chain("a > b > c > d", jobs={"a": {"sequence_retry": 1}}))

    finished = [event.finished_jobs for event in stage.watcher.events]
    assert finished == sorted(finished)
    assert max(event.rolled_back_jobs for event in stage.watcher.events) == 2
    assert stage.reports.counts[-1] == (4, 0)
    numbers = [event.sequence_number for event in stage.watcher.events]
    assert numbers == sorted(set(numbers))


async def test_a_watcher_sees_each_state_of_a_job(stage: Stage) -> None:
    stage.plays["a"] = [fails(), returns(COMPLETE)]

    await stage.run(chain("a", jobs={"a": {"sequence_retry": 1}}))

    running = State.RUNNING
    assert stage.watcher.states("a") == [running, FAIL, State.PENDING, running, COMPLETE]


async def test_the_end_of_a_try_is_published_once_committed_and_numbered_by_its_position(
    stage: Stage,
) -> None:
    stage.journal.disconnected = True
    stage.runner.run(chain("a > b"), 3)
    await stage.until_started("a")
    await turns()
    assert stage.watcher.states("a") == [State.RUNNING]

    stage.journal.disconnected = False
    stage.journal.reconnect()
    await stage.reports.end()

    ends = [event for event in stage.watcher.events if event.job.state is COMPLETE]
    entries = [(entry.job_id, entry.position) for entry in stage.journal.entries]
    assert [(e.job.job_id, e.sequence_number) for e in ends] == [
        (job_id, number_of(position, 0)) for job_id, position in entries
    ]


async def test_a_chain_publishes_its_start_first_and_its_release_last(
    stage: Stage,
) -> None:
    await stage.run(chain("a"))
    await turns()

    (started,), (released,) = stage.watcher.starts, stage.watcher.releases
    assert started.sequence_number < stage.watcher.events[0].sequence_number
    assert released.sequence_number == stage.watcher.events[-1].sequence_number
    assert released.complete


async def test_a_chain_that_is_abandoned_takes_what_is_not_committed_with_it(
    stage: Stage,
) -> None:
    stage.journal.disconnected = True
    stage.runner.run(chain("a > b"), 1)
    await stage.until_started("a")
    await turns()

    stage.runner.abandon("request", 1)
    stage.journal.reconnect()
    await turns()

    assert stage.watcher.states("a") == [State.RUNNING]
    assert not stage.watcher.releases[0].complete


async def test_nothing_is_published_without_a_reader_but_it_is_counted(stage: Stage) -> None:
    stage.watcher.enabled = False
    stage.plays["b"] = [works_until_stopped]
    stage.runner.run(chain("a > b"), 1)
    await stage.until_started("b")
    assert stage.watcher.events == []

    stage.watcher.enabled = True
    stage.runner.stop("request", "")
    await stage.reports.end()

    assert [event.sequence_number for event in stage.watcher.events] == [number_of(2, 0)]


async def test_a_chain_and_its_tries_last_as_long_as_the_clock_of_the_chain_says(
    stage: Stage,
) -> None:
    report = await stage.run(chain("a > b"))

    for entry in stage.journal.entries:
        assert entry.started_at < entry.finished_at
    began = report.finished_at - stage.reports.running_times["request"]
    assert began < stage.journal.entries[0].started_at
    assert stage.journal.entries[-1].finished_at < report.finished_at
