from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from spincycle.errors import InvalidEntry
from spincycle.job_log.intake import Intake
from spincycle.model.journal_entry import JournalEntry
from spincycle.model.state import State

INTAKE = Intake(text_limit=2000, data_limit=1000)
ENTRY = JournalEntry(
    "c0n4t8k9o5vg0a1b2c3d", "AbC1", 1, "name", "noop", 5, 6, State.COMPLETE, position=1, epoch=1
)


def test_a_row_has_the_values_of_the_entry() -> None:
    row = INTAKE.row(replace(ENTRY, data={"b": 1, "a": "\0"}, stdout="out"))

    assert (row.request_id, row.try_, row.state, row.stdout) == (
        "c0n4t8k9o5vg0a1b2c3d",
        1,
        3,
        "out",
    )
    assert row.data == '{"a":"\\u0000","b":1}'


def test_missing_data_and_empty_data_are_distinguished() -> None:
    assert INTAKE.row(ENTRY).data is None
    assert INTAKE.row(replace(ENTRY, data={})).data == "{}"


def test_the_order_of_keys_in_data_does_not_change_the_row() -> None:
    one = INTAKE.row(replace(ENTRY, data={"a": 1, "b": {"x": 1, "y": 2}}))
    other = INTAKE.row(replace(ENTRY, data={"b": {"y": 2, "x": 1}, "a": 1}))

    assert one == other


@pytest.mark.parametrize("field", ["error", "stdout", "stderr", "name", "type", "sequence_id"])
def test_a_long_text_is_truncated_with_a_mark_and_nul_is_replaced(field: str) -> None:
    changed: dict[str, Any] = {field: "\0" + "x" * 5000 + "end"}
    row = INTAKE.row(replace(ENTRY, **changed))

    text = getattr(row, field)
    assert text.startswith("␀xxx")
    assert text.endswith("xxxend")
    assert "bytes cut" in text
    assert len(text) < 2100


def test_data_that_are_too_large_are_rejected_with_their_size() -> None:
    with pytest.raises(InvalidEntry, match="the job data have 2010 bytes; the limit is 1000"):
        INTAKE.row(replace(ENTRY, data={"large": "x" * 1998}))


@pytest.mark.parametrize("state", [State.COMPLETE, State.FAIL, State.STOPPED, State.UNKNOWN])
def test_an_entry_without_a_position_may_have_no_try_and_state(state: State) -> None:
    row = INTAKE.row(replace(ENTRY, position=0, try_=0, state=state))

    assert (row.position, row.try_, row.state) == (0, 0, state)


@pytest.mark.parametrize("state", [State.PENDING, State.RUNNING, State.SUSPENDED, State.RESERVED])
@pytest.mark.parametrize("position", [0, 1])
def test_a_try_that_has_not_ended_is_always_rejected(state: State, position: int) -> None:
    with pytest.raises(InvalidEntry, match="state must be COMPLETE, FAIL or STOPPED"):
        INTAKE.row(replace(ENTRY, position=position, state=state))


def test_a_very_long_id_is_shortened_in_the_error() -> None:
    with pytest.raises(InvalidEntry) as refused:
        INTAKE.row(replace(ENTRY, request_id="x" * 100_000))

    assert len(refused.value.request_id.encode()) <= 256
