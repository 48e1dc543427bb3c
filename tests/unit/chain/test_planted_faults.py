"""The model detects planted faults."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.chain.chains import chain
from tests.unit.chain.exploration import explore
from tests.unit.chain.fact import NotAllowed

from spincycle.chain import chain_state, sequence_rules, suspension
from spincycle.chain.chain_graph import JobNode, SequenceNode, Window
from spincycle.chain.chain_record import ChainRecord
from spincycle.chain.chain_state import ChainState
from spincycle.chain.scheduler_state import Mode, SchedulerState
from spincycle.model.state import State

Plant = Callable[[pytest.MonkeyPatch], None]

DIAMOND = chain("a > b c > d", jobs={"a": {"sequence_retry": 1}, "b": {"retry": 1}})
NESTED = chain(
    "A > B > c > D > E",
    sequences={"B": "B c D"},
    jobs={"A": {"sequence_retry": 1}, "B": {"sequence_retry": 1}},
)
WAITING = chain("a > b", jobs={"a": {"retry": 1, "retry_wait": "1s"}})
WINDOW = chain("A > b c d > E", limits=[(1, [("b", "b"), ("c", "c"), ("d", "d")])])


def dependents_start_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    completed = ChainState._completed

    def hasty(self: ChainState, node: JobNode, end: Any) -> None:
        completed(self, node, end)
        if not node.settled:
            self._uncommitted.pop()
            self._settle(node)

    patch.setattr(ChainState, "_completed", hasty)


def the_end_is_reported_before_the_commit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ChainRecord, "all_committed", property(lambda self: True))


def a_sequence_is_rolled_back_under_running_jobs(patch: pytest.MonkeyPatch) -> None:
    def hasty(scheduler: SchedulerState, sequence: SequenceNode | None) -> None:
        if sequence is not None and sequence.failing:
            sequence_rules._roll_back(scheduler, sequence)

    patch.setattr(sequence_rules, "_roll_back_if_idle", hasty)


def every_parallel_failure_rolls_back(patch: pytest.MonkeyPatch) -> None:
    def again(scheduler: SchedulerState, node: JobNode) -> None:
        if node.sequence is not None and node.sequence.may_retry:
            node.sequence.tries += 1
            sequence_rules._roll_back(scheduler, node.sequence)

    patch.setattr(chain_state, "fail_permanently", again)


def a_sequence_is_tried_once_too_often(patch: pytest.MonkeyPatch) -> None:
    once_more = property(lambda self: self.tries <= self.first.job.sequence_retry + 1)
    patch.setattr(SequenceNode, "may_retry", once_more)


def nested_tries_are_not_reset(patch: pytest.MonkeyPatch) -> None:
    roll_back = sequence_rules._roll_back

    def stingy(scheduler: SchedulerState, sequence: SequenceNode) -> None:
        tries = [(inner, inner.tries) for inner in sequence.all_within()]
        roll_back(scheduler, sequence)
        for inner, count in tries:
            inner.tries = count

    patch.setattr(sequence_rules, "_roll_back", stingy)


def a_nested_failure_never_reaches_the_outer_sequence(patch: pytest.MonkeyPatch) -> None:
    def own(node: JobNode) -> SequenceNode | None:
        sequence = node.sequence
        return sequence if sequence is not None and sequence.may_retry else None

    patch.setattr(sequence_rules, "sequence_to_retry", own)


def a_stop_during_a_wait_is_lost(patch: pytest.MonkeyPatch) -> None:
    halt = ChainState._halt

    def forgetful(self: ChainState, mode: Mode, reason: str) -> None:
        if not self._scheduler.delayed:
            halt(self, mode, reason)

    patch.setattr(ChainState, "_halt", forgetful)


def a_stop_rewrites_failed_jobs(patch: pytest.MonkeyPatch) -> None:
    halt = ChainState._halt

    def rewriting(self: ChainState, mode: Mode, reason: str) -> None:
        halt(self, mode, reason)
        for node in self._by_index:
            if node.state is State.FAIL:
                node.state = State.STOPPED

    patch.setattr(ChainState, "_halt", rewriting)


def a_window_ignores_its_limit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Window, "has_room", property(lambda self: True))


def a_failed_element_hangs_the_chain(patch: pytest.MonkeyPatch) -> None:
    def never(self: ChainState) -> None:
        if all(node.state is State.COMPLETE for node in self._by_index):
            self._finish(State.COMPLETE, "")

    patch.setattr(ChainState, "_conclude", never)


def counts_ignore_the_roll_back(patch: pytest.MonkeyPatch) -> None:
    mark_incomplete = ChainRecord.mark_incomplete

    def forgetful(self: ChainRecord, node: JobNode) -> None:
        mark_incomplete(self, node)
        self.complete += 1

    patch.setattr(ChainRecord, "mark_incomplete", forgetful)


def a_suspended_try_is_used_up(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(suspension, "uncount_try", lambda node: None)


def a_rebuilt_chain_uses_numbers_again(patch: pytest.MonkeyPatch) -> None:
    from spincycle.chain import rebuild

    patch.setattr(rebuild, "_startable", lambda suspended: set())


def a_rebuilt_chain_omits_the_roll_back(patch: pytest.MonkeyPatch) -> None:
    from spincycle.chain import rebuild

    patch.setattr(rebuild, "fail_permanently", lambda scheduler, node: None)


def a_retried_sequence_reuses_keys(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(JobNode, "key", property(lambda self: str(self.latest)))


def a_retry_has_the_key_of_the_failed_try(patch: pytest.MonkeyPatch) -> None:
    sequence_only = property(lambda self: str(self.sequence.tries))
    patch.setattr(JobNode, "key", sequence_only)


@pytest.mark.parametrize(
    ("plant", "where", "once"),
    [
        (dependents_start_before_the_commit, DIAMOND, ""),
        (the_end_is_reported_before_the_commit, DIAMOND, ""),
        (a_sequence_is_rolled_back_under_running_jobs, DIAMOND, ""),
        (every_parallel_failure_rolls_back, DIAMOND, ""),
        (a_sequence_is_tried_once_too_often, DIAMOND, ""),
        (nested_tries_are_not_reset, NESTED, ""),
        (a_nested_failure_never_reaches_the_outer_sequence, NESTED, ""),
        (a_stop_during_a_wait_is_lost, WAITING, "stop"),
        (a_stop_rewrites_failed_jobs, DIAMOND, "stop"),
        (a_window_ignores_its_limit, WINDOW, ""),
        (a_failed_element_hangs_the_chain, WINDOW, ""),
        (counts_ignore_the_roll_back, NESTED, ""),
        (a_suspended_try_is_used_up, WAITING, "suspend"),
        (a_rebuilt_chain_uses_numbers_again, WAITING, "crash"),
        (a_retried_sequence_reuses_keys, DIAMOND, ""),
        (a_retry_has_the_key_of_the_failed_try, DIAMOND, ""),
        (a_rebuilt_chain_omits_the_roll_back, NESTED, "crash"),
    ],
    ids=lambda value: getattr(value, "__name__", "").replace("_", " ") or None,
)
def test_the_model_catches_a_runner_where(
    plant: Plant, where: Any, once: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    allowed = frozenset({once} - {""})
    assert explore(where, allowed) > 1, "without the fault all is well"
    plant(monkeypatch)

    with pytest.raises(NotAllowed):
        explore(where, allowed)
