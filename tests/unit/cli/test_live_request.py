from __future__ import annotations

from tests.cli_samples import (
    COMPLETE,
    FAIL,
    ID,
    RUNNING,
    ChainMaker,
    request,
    rolling_restart_chain,
    snapshot,
    status,
)

from spincycle.cli.live_request import LiveRequest, LiveSequence, node_name
from spincycle.model.state import State
from spincycle.v1 import request_event_pb2


def live_with(*jobs: object) -> LiveRequest:
    live = LiveRequest(ID)
    live.apply(snapshot(request(), list(jobs), rolling_restart_chain()))  # type: ignore[arg-type] # statuses
    return live


def names(sequence: LiveSequence) -> list[object]:
    return [
        (f"{child.begin.name} {child.begin.label}".strip(), names(child))
        if isinstance(child, LiveSequence)
        else child.name
        for child in sequence.children
    ]


def test_jobs_stand_in_their_sequences_and_structural_ones_are_left_out() -> None:
    assert names(live_with().root) == [
        "plan-order",
        ("restart-host web1", ["drain", "restart", "enable"]),
        ("restart-host web2", ["drain", "restart", "enable"]),
        "report",
    ]


def test_a_chain_without_paths_has_the_tree_of_its_arguments() -> None:
    live = LiveRequest(ID)

    live.set_chain(rolling_restart_chain(paths=False))

    assert names(live.root) == names(live_with().root)
    assert {job.path for job in live.jobs.values()} == {""}


def test_elements_are_labelled_as_in_their_path() -> None:
    maker = ChainMaker("x")
    outer = maker.sequence("S001", "upgrade", element="[1]")
    maker.sequence("S002", "check", outer, element="east 2")
    maker.job("J001", "ping", "S002", host="h1")
    maker.job("J002", "ping", "S002", element="h2", host="h1")
    live = LiveRequest(ID)

    live.set_chain(maker.made())

    assert names(live.root) == [("upgrade [1]", [("check east 2", ["ping", "ping"])])]
    assert [job.label for job in live.root.jobs()] == ["", "h2"]
    assert live.jobs["S002"].path == "upgrade [1] / check east 2"


def test_siblings_with_equal_arguments_are_numbered_in_a_chain_without_paths() -> None:
    maker = ChainMaker("x", paths=False)
    maker.job("A000", "wait", ms="1")
    maker.job("B000", "wait", ms="1")
    live = LiveRequest(ID)

    live.set_chain(maker.made())

    assert [job.label for job in live.root.jobs()] == ["#1", "#2"]


def test_jobs_without_a_chain_are_listed_by_path_in_order_of_arrival() -> None:
    live = LiveRequest(ID)

    live.apply(
        snapshot(request(), [status("ABCD", "old", RUNNING), status("D001", "drain", RUNNING)])
    )

    assert [job.name for job in live.root.jobs()] == ["old", "restart-host web2 / drain"]


def test_events_change_one_job_at_a_time() -> None:
    live = live_with(status("Plan", "plan-order", COMPLETE))

    live.apply(
        request_event_pb2.RequestEvent(
            request_id=ID, cursor="7", job=status("D000", "drain", FAIL, error="no route")
        )
    )

    assert live.cursor == "7"
    assert live.jobs["D000"].state is State.FAIL
    assert live.jobs["D000"].error == "no route"
    assert live.jobs["Plan"].state is State.COMPLETE


def test_a_later_snapshot_resets_jobs_that_it_does_not_list() -> None:
    live = live_with(status("D000", "drain", COMPLETE))

    live.apply(snapshot(request(), [status("Plan", "plan-order", COMPLETE)]))

    assert live.jobs["D000"].state is State.PENDING


def test_running_and_failed_jobs_decide_the_state_of_a_sequence() -> None:
    live = live_with(status("D000", "drain", COMPLETE), status("R000", "restart", FAIL))
    first = next(child for child in live.root.children if isinstance(child, LiveSequence))

    def state() -> State:
        return first.state

    assert state() is State.FAIL
    live.jobs["R000"].state = State.RUNNING
    assert state() is State.RUNNING
    live.jobs["R000"].state = State.PENDING
    assert state() is State.RUNNING


def test_names_of_begin_jobs_become_names_of_nodes() -> None:
    assert node_name("sequence_restart_host_begin") == "restart_host"
    assert node_name("conditional_check_begin") == "check"
    assert node_name("drain") == "drain"
