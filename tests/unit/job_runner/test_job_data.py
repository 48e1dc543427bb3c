from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.chain.chains import chain
from tests.unit.job_runner.stage import Scripted, Stage, leaves

from spincycle.chain.job_data import InvalidJobData, copy_data
from spincycle.job import Return, State
from spincycle.model.job_chain import Value

NAMES = st.text("abcäß ", max_size=5)
NUMBERS = st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | NAMES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=10,
)


@given(st.dictionaries(NAMES, VALUES, max_size=4))
def test_a_copy_is_equal_and_shares_nothing(data: dict[str, Any]) -> None:
    copied = copy_data(data, limit=10**6)

    assert copied == data
    for key, value in copied.items():
        assert not isinstance(value, list | dict) or value is not data[key]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ([1], "job data is type list, expected type dict"),
        ({"a": {1, 2}}, "job data a has type set, which JSON cannot represent"),
        ({"a": [{"b": object()}]}, "job data a has type object, which JSON cannot represent"),
        ({1: "a"}, "a key in job data is type int, expected type str"),
        ({"a": {2: "b"}}, "a key in a is type int, expected type str"),
        ({"a": math.nan}, "job data a: nan is not a valid JSON number"),
        ({"\0": 1}, "a key in job data contains a NUL character, which cannot be stored"),
        ({"a": "x\0"}, "job data a contains a NUL character, which cannot be stored"),
        ({"a": "\ud800"}, "job data a is not valid Unicode"),
        ({"a": "x" * 100}, "job data is larger than 50 bytes"),
        ({"x" * 100: 1}, "job data is larger than 50 bytes"),
        ({"a": [0] * 100}, "job data is larger than 50 bytes"),
    ],
)
def test_invalid_job_data_is_rejected_by_name(data: object, says: str) -> None:
    with pytest.raises(InvalidJobData) as caught:
        copy_data(data, limit=50)
    assert str(caught.value) == says


def test_data_that_contains_itself_is_rejected() -> None:
    data: dict[str, Any] = {}
    data["a"] = data
    with pytest.raises(InvalidJobData, match="nested deeper than 24 levels"):
        copy_data(data)


async def test_of_equal_keys_the_later_created_parent_wins(stage: Stage) -> None:
    stage.plays |= {"b": [leaves(who="b", b=1)], "c": [leaves(who="c", c=1)]}

    await stage.run(chain("a > c b > d"))

    created = list(chain("a > c b > d").jobs)
    assert created == ["a", "c", "b", "d"]
    assert stage.given["d"] == [{"who": "b", "b": 1, "c": 1}]


async def test_data_passes_through_structural_jobs(stage: Stage) -> None:
    stage.plays["a"] = [leaves(n=1)]

    await stage.run(chain("a > B > C > d"))

    assert stage.given["d"] == [{"n": 1}]
    data = {entry.job_id: entry.data for entry in stage.journal.entries}
    assert data == {"a": {"n": 1}, "B": None, "C": None, "d": {"n": 1}}


async def test_siblings_do_not_see_what_the_other_changes(stage: Stage) -> None:
    async def spoils(job: Scripted, data: dict[str, Value]) -> Return:
        shared = data["shared"]
        assert shared == [1]
        assert isinstance(shared, list)
        shared.append(2)
        return Return(State.COMPLETE)

    stage.plays |= {"a": [leaves(shared=[1])], "b": [spoils], "c": [spoils]}

    report = await stage.run(chain("a > b c > d"))

    assert report.state is State.COMPLETE
    assert stage.given["d"] == [{"shared": [1, 2]}]


async def test_a_retry_does_not_see_what_the_failed_try_left(stage: Stage) -> None:
    async def leaves_and_fails(job: Scripted, data: dict[str, Value]) -> Return:
        data["half"] = "done"
        return Return(State.FAIL)

    stage.plays["b"] = [leaves_and_fails, leaves()]

    await stage.run(chain("a > b > c", jobs={"b": {"retry": 1}}))

    assert stage.given["b"] == [{}, {}]
    assert stage.given["c"] == [{}]


async def test_invalid_data_fails_the_job_that_left_it(stage: Stage) -> None:
    stage.plays["a"] = [leaves(big="x" * 300_000)]

    report = await stage.run(chain("a > b"))

    assert report.state is State.FAIL
    assert stage.journal.errors("a") == ["job data is larger than 262144 bytes"]


async def test_data_too_large_together_fails_the_job_that_would_get_it(stage: Stage) -> None:
    stage.plays |= {"b": [leaves(b="x" * 200_000)], "c": [leaves(c="x" * 200_000)]}

    report = await stage.run(chain("a > b c > d"))

    assert report.state is State.FAIL
    assert stage.journal.errors("d") == ["job data is larger than 262144 bytes"]
