from __future__ import annotations

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from spincycle.rest_codec.times import (
    format_time,
    from_nanoseconds,
    parse_time,
    to_nanoseconds,
)

TIMESTAMPS = st.builds(
    Timestamp,
    seconds=st.integers(-62_135_596_800, 253_402_300_799),
    nanos=st.integers(0, 999_999_999),
)


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (0, "2020-01-01T00:00:00Z"),
        (120_000_000, "2020-01-01T00:00:00.12Z"),
        (1, "2020-01-01T00:00:00.000000001Z"),
    ],
)
def test_a_fraction_has_no_trailing_zeros(nanos: int, text: str) -> None:
    assert format_time(Timestamp(seconds=1_577_836_800, nanos=nanos)) == text


@given(TIMESTAMPS)
def test_a_time_reads_back_as_it_was(timestamp: Timestamp) -> None:
    assert parse_time(format_time(timestamp)) == timestamp


@given(st.integers(-(2**63), 2**63 - 1))
def test_nanoseconds_read_back_as_they_were(nanoseconds: int) -> None:
    assert to_nanoseconds(from_nanoseconds(nanoseconds)) == nanoseconds


def test_an_offset_is_taken_into_account() -> None:
    assert parse_time("2020-01-01T01:30:00+01:30") == parse_time("2020-01-01T00:00:00Z")


def test_digits_beyond_the_nanosecond_are_dropped() -> None:
    assert parse_time("2020-01-01T00:00:00.1234567899Z").nanos == 123_456_789


@given(st.builds(Timestamp, seconds=st.integers(-(2**63), 2**63 - 1)))
def test_a_moment_that_has_no_name_is_written_as_the_nearest_that_has(
    timestamp: Timestamp,
) -> None:
    assert len(format_time(timestamp)) == len("2020-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("foo", 'cannot parse "foo" as "2006"'),
        ("2020-1-1T00:00:00Z", 'cannot parse "1-1T00:00:00Z" as "01"'),
        ("2020-01-01 00:00:00", 'cannot parse " 00:00:00" as "T"'),
        ("2020-01-01T00:00:00", 'cannot parse "" as "Z07:00"'),
        ("2020-13-32T25:00:00Z", ": month out of range"),
        ("2020-02-30T00:00:00Z", ": day out of range"),
        ("2020-02-30T24:00:00Z", ": hour out of range"),
        ("2020-02-30T23:60:00Z", ": minute out of range"),
        ("2020-02-30T23:59:60Z", ": second out of range"),
        ("0001-01-01T00:00:00+00:01", "year is outside of range"),
    ],
)
def test_what_is_no_time_is_refused_in_gos_words(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=r"^parsing time ") as refused:
        parse_time(text)

    assert problem in str(refused.value)
