from __future__ import annotations

from dataclasses import replace

import pytest

from spincycle.errors import InvalidEntry
from spincycle.job_log.intake import Intake
from spincycle.model.journal_entry import JournalEntry
from spincycle.model.state import State

INTAKE = Intake(text_limit=2000, data_limit=1000)
ENTRY = JournalEntry(
    "c0n4t8k9o5vg0a1b2c3d", "AbC1", 1, "name", "noop", 5, 6, State.COMPLETE, position=1, epoch=1
)


def test_a_row_has_what_the_entry_says() -> None:
    row = INTAKE.row(replace(ENTRY, data={"b": 1, "a": "\0"}, stdout="out"))

    assert (row.request_id, row.try_, row.state, row.stdout) == (
        "c0n4t8k9o5vg0a1b2c3d", 1, 3, "out",
    )  # fmt: skip
    assert row.data == '{"a":"\\u0000","b":1}'


def test_no_data_and_empty_data_are_told_apart() -> None:
    assert INTAKE.row(ENTRY).data is None
    assert INTAKE.row(replace(ENTRY, data={})).data == "{}"


def test_the_order_of_the_data_makes_no_other_row() -> None:
    one = INTAKE.row(replace(ENTRY, data={"a": 1, "b": {"x": 1, "y": 2}}))
    other = INTAKE.row(replace(ENTRY, data={"b": {"y": 2, "x": 1}, "a": 1}))

    assert one == other


@pytest.mark.parametrize("field", ["error", "stdout", "stderr", "name", "type", "sequence_id"])
def test_a_long_text_is_cut_with_a_mark_and_nul_is_shown(field: str) -> None:
    row = INTAKE.row(replace(ENTRY, **{field: "\0" + "x" * 5000 + "end"}))

    kept = getattr(row, field)
    assert kept.startswith("␀xxx")
    assert kept.endswith("xxxend")
    assert "bytes cut" in kept
    assert len(kept) < 2100


def test_data_that_are_too_large_are_refused_with_their_size() -> None:
    with pytest.raises(InvalidEntry, match="the job data take 2010 bytes; 1000 may be kept"):
        INTAKE.row(replace(ENTRY, data={"large": "x" * 1998}))


@pytest.mark.parametrize("state", [State.COMPLETE, State.FAIL, State.STOPPED, State.UNKNOWN])
def test_a_caller_that_keeps_no_positions_may_leave_try_and_state_open(state: State) -> None:
    row = INTAKE.row(replace(ENTRY, position=0, try_=0, state=state))

    assert (row.position, row.try_, row.state) == (0, 0, state)


@pytest.mark.parametrize("state", [State.PENDING, State.RUNNING, State.SUSPENDED, State.RESERVED])
@pytest.mark.parametrize("position", [0, 1])
def test_a_try_that_has_not_ended_is_never_taken(state: State, position: int) -> None:
    with pytest.raises(InvalidEntry, match="state must be COMPLETE, FAIL or STOPPED"):
        INTAKE.row(replace(ENTRY, position=position, state=state))


def test_an_endless_id_is_not_repeated_in_its_refusal() -> None:
    with pytest.raises(InvalidEntry) as refused:
        INTAKE.row(replace(ENTRY, request_id="x" * 100_000))

    assert len(refused.value.request_id.encode()) <= 256
