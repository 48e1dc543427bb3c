from __future__ import annotations

import pytest

from spincycle.v1 import job_log_pb2
from spincycle.v1 import job_log_service_pb2 as pb
from spincycle.wire.parts import embedded


@pytest.mark.parametrize("length", [0, 1, 100, 127, 128, 20_000, 3_000_000])
def test_a_message_with_a_serialized_one_in_it_is_read_as_if_it_had_been_made_whole(
    length: int,
) -> None:
    entry = job_log_pb2.JobLog(request_id="r", stdout="x" * length)
    number = pb.GetEntryResponse.ENTRY_FIELD_NUMBER
    made = pb.GetEntryResponse.FromString(embedded(number, entry.SerializeToString()))
    assert made == pb.GetEntryResponse(entry=entry)


def test_parts_with_other_fields_one_after_the_other_are_one_message() -> None:
    one = job_log_pb2.JobLog(request_id="r", position=7)
    other = job_log_pb2.JobLog(job_id="j", stdout="out")
    joined = one.SerializeToString() + other.SerializeToString()
    assert job_log_pb2.JobLog.FromString(joined) == job_log_pb2.JobLog(
        request_id="r", position=7, job_id="j", stdout="out"
    )
