from __future__ import annotations

import math
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.wire.plain import values

from spincycle.internal.v1.runner_coordination_service_pb2 import ReportRequest
from spincycle.model.job_chain import VALUE_DEPTH, Value
from spincycle.wire.values import from_struct, from_value, to_struct, to_value


@given(st.dictionaries(st.text(), values))
def test_what_goes_out_comes_back(plain: dict[str, Value]) -> None:
    wire = to_struct(plain).SerializeToString()

    assert from_struct(Struct.FromString(wire)) == plain


@given(values)
def test_one_value_goes_out_and_comes_back(plain: Value) -> None:
    assert from_value(to_value(plain)) == plain


@given(st.dictionaries(st.text(), values))
def test_the_wire_form_is_the_one_that_protobuf_itself_would_make(plain: dict[str, Value]) -> None:
    assert json_format.MessageToDict(to_struct(plain)) == plain


def test_whole_numbers_come_back_as_int_and_booleans_as_bool() -> None:
    back = from_struct(to_struct({"n": 3, "x": 3.0, "half": 0.5, "yes": True, "none": None}))

    assert {key: type(value) for key, value in back.items()} == {
        "n": int,
        "x": int,
        "half": float,
        "yes": bool,
        "none": type(None),
    }


def test_empty_lists_and_objects_stay_what_they_are() -> None:
    assert from_struct(to_struct({"list": [], "object": {}})) == {"list": [], "object": {}}


def test_a_tuple_travels_as_a_list() -> None:
    pair: Any = (1, 2)

    assert from_value(to_value(pair)) == [1, 2]


@pytest.mark.parametrize(
    ("plain", "problem"),
    [
        ({"hosts": [{"id": 2**53 + 1}]}, "hosts[0].id: a number that cannot be kept"),
        ({"n": 10**400}, "n: a whole number too large"),
        ({"a": {"b": math.nan}}, "a.b: nan is not a number that JSON knows"),
        ({"a": [1, [math.inf]]}, "a[1][0]: inf is not a number"),
        ({"a": {"b": object()}}, "a.b: object is not a value"),
        ({"a": {1: "x"}}, "a.1: a name must be text, not int"),
        ({"a": "\ud800"}, "a: text that is not valid Unicode"),
        ({"\ud800": 1}, "'\\ud800': a name that is not valid Unicode"),
    ],
)
def test_what_json_cannot_say_is_refused_with_its_path(plain: Any, problem: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 # the path is looked at below
        to_struct(plain)

    assert str(refused.value).startswith(problem)


def test_the_deepest_value_that_is_taken_can_be_parsed_in_the_deepest_message() -> None:
    deep: Value = "bottom"
    for _ in range(VALUE_DEPTH):
        deep = {"k": deep}
    request = ReportRequest()
    job = request.reports.add().suspended.job_chain.jobs.add()
    job.data.CopyFrom(to_struct({"a": deep}))

    parsed = ReportRequest.FromString(request.SerializeToString())

    assert from_struct(parsed.reports[0].suspended.job_chain.jobs[0].data) == {"a": deep}
    with pytest.raises(ValueError, match=f"nests more than {VALUE_DEPTH} levels"):
        to_struct({"a": [deep]})
