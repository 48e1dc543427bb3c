from __future__ import annotations

import pytest
from tests.cli_samples import START

from spincycle.cli.filters import parse_filters
from spincycle.cli.problem import Problem
from spincycle.model.state import State


def test_all_filters_together() -> None:
    search = parse_filters(
        [
            "type=greet",
            "states=running,Fail",
            "user=dana",
            "args=a=1,b=x=y",
            "since=2026-11-23 22:34:52 UTC",
            "until=2026-11-23 22:34:52 UTC",
            "limit=5",
            "offset=10",
            "timezone=LOCAL",
        ]
    )

    assert search.type == "greet"
    assert search.states == (State.RUNNING, State.FAIL)
    assert search.args == (("a", "1"), ("b", "x=y"))
    assert search.since == search.until == START
    assert (search.limit, search.offset, search.zone) == (5, 10, None)
    message = search.message()
    assert message.since.seconds == START
    assert dict(message.args) == {"a": "1", "b": "x=y"}
    assert (message.limit, message.offset) == (5, 10)


def test_the_default_is_the_ten_newest_requests() -> None:
    assert parse_filters([]).limit == 10


def test_a_duration_counts_back_from_now() -> None:
    assert parse_filters(["since=90m"], now=START).since == START - 5400


@pytest.mark.parametrize(
    "word",
    [
        "type",
        "since=2026-11-23",
        "since=2026-11-23 22:34:52",
        "since=2026-11-23 22:34:52 CET",
        "states=bogus",
        "timezone=mars",
        "colour=red",
        "args=host",
        "args==x",
        "limit=-1",
        "limit=ten",
        "offset=1.5",
        "limit=4294967296",
        "offset=99999999999999999999",
    ],
)
def test_an_invalid_filter_is_rejected(word: str) -> None:
    with pytest.raises(Problem) as refused:
        parse_filters([word])

    assert refused.value.hint


def test_an_offset_needs_a_limit() -> None:
    with pytest.raises(Problem, match="only with a limit"):
        parse_filters(["limit=0", "offset=3"])

    assert parse_filters(["offset=3"]).message().limit == 10


def test_a_repeated_filter_is_rejected() -> None:
    with pytest.raises(Problem, match="twice"):
        parse_filters(["type=a", "type=b"])


def test_an_invalid_state_lists_the_valid_ones() -> None:
    with pytest.raises(Problem) as refused:
        parse_filters(["states=bogus"])

    assert "SUSPENDED" in refused.value.hint
