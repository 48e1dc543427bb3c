from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from spincycle.model.exact_numbers import as_readable, find_beyond
from spincycle.model.job_chain import LARGEST_INT, Value
from spincycle.wire.values import to_value

numbers = st.integers(-(2**64) + 1, 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
values: st.SearchStrategy[Value] = st.recursive(
    st.none() | st.booleans() | numbers | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(values)
def test_every_stored_value_can_be_encoded_once_it_is_readable(value: Value) -> None:
    to_value(as_readable(value))


@given(values)
def test_a_value_without_numbers_beyond_the_bound_is_unchanged(value: Value) -> None:
    assert (find_beyond(value) is None) == (as_readable(value) == value)


@given(st.floats(LARGEST_INT + 1, 1e21, exclude_max=True))
def test_the_text_of_a_number_is_the_double_that_was_stored(number: float) -> None:
    # The form in which PostgreSQL returns a double.
    digits = f"{int(orjson.loads(orjson.dumps(number)))}"

    assert as_readable(number) == digits


def test_a_number_beyond_the_bound_is_found_by_its_path() -> None:
    assert find_beyond({"a": [1, {"b": -(2**53)}]}) == "a[1].b"
    assert find_beyond(2**53) == ""
    assert find_beyond([True, None, "9" * 30, 2**53 - 1]) is None
