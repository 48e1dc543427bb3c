from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given
from tests.unit.wire.plain import entries

from spincycle.model.job_chain import Value
from spincycle.model.journal_entry import JournalEntry
from spincycle.model.state import State
from spincycle.v1 import job_log_pb2
from spincycle.wire.journal import decode_entry, encode_entry


def entry_of(data: dict[str, Value] | None = None) -> JournalEntry:
    return JournalEntry("r", "aaaa", 1, "n", "noop", 0, 0, State.COMPLETE, data=data)


@given(entries)
def test_an_entry_comes_back_as_it_went_out(entry: JournalEntry) -> None:
    wire = encode_entry(entry).SerializeToString()

    assert decode_entry(job_log_pb2.JobLog.FromString(wire)) == entry


def test_a_job_that_could_not_be_started_has_no_times() -> None:
    message = encode_entry(entry_of())

    assert not message.HasField("started_at")
    assert not message.HasField("finished_at")


def test_empty_data_and_no_data_are_distinguished() -> None:
    assert decode_entry(encode_entry(entry_of(data={}))).data == {}
    assert decode_entry(encode_entry(entry_of())).data is None


def test_data_that_json_cannot_say_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"^big: a number that cannot be kept"):
        encode_entry(entry_of(data={"big": 2**53 + 1}))


def test_every_field_of_the_contract_has_its_plain_counterpart() -> None:
    plain = {"try_number": "try_", "sequence_try_number": "sequence_try"}
    names = [field.name for field in job_log_pb2.JobLog.DESCRIPTOR.fields]

    assert [field.name for field in fields(JournalEntry)] == [
        plain.get(name, name) for name in names
    ]
