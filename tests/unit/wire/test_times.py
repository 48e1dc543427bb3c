from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.wire.plain import nanoseconds

from spincycle.wire.times import (
    from_timestamp,
    get_nanoseconds,
    get_seconds,
    set_nanoseconds,
    set_seconds,
    to_timestamp,
)


@given(nanoseconds)
def test_nanoseconds_are_kept_to_the_last_one(time: int) -> None:
    field = Timestamp()
    set_nanoseconds(field, time)

    assert get_nanoseconds(field) == time
    assert 0 <= field.nanos < 1_000_000_000
    field.ToJsonString()


def test_a_time_that_is_not_set_is_zero_nanoseconds() -> None:
    assert get_nanoseconds(Timestamp()) == 0


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_datetime_is_kept_to_the_microsecond(time: datetime) -> None:
    assert from_timestamp(to_timestamp(time)) == time
    assert to_timestamp(time).nanos >= 0


def test_a_time_of_another_zone_is_the_same_moment() -> None:
    noon = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=5)))

    assert from_timestamp(to_timestamp(noon)) == datetime(2026, 3, 1, 7, tzinfo=UTC)


@given(st.integers(0, 10**6).map(lambda millis: millis / 1000))
def test_a_duration_is_kept_to_the_nanosecond(seconds: float) -> None:
    field = Duration()
    set_seconds(field, seconds)

    assert get_seconds(field) == pytest.approx(seconds, abs=1e-9)
    assert 0 <= field.nanos < 1_000_000_000


@pytest.mark.parametrize("seconds", [1.9999999999, -1.9999999999, -0.25])
def test_a_duration_is_rounded_to_a_form_that_protobuf_takes(seconds: float) -> None:
    field = Duration()
    set_seconds(field, seconds)

    field.ToJsonString()
    assert get_seconds(field) == pytest.approx(seconds, abs=1e-9)


def test_an_endless_duration_is_refused() -> None:
    with pytest.raises(ValueError, match="inf is no duration"):
        set_seconds(Duration(), float("inf"))
