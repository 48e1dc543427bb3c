from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spincycle.rest_codec.encoding import number, to_part, to_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3.0, "3"),
        (-3.0, "-3"),
        (0.0, "0"),
        (-0.0, "-0"),
        (1.5, "1.5"),
        (0.1, "0.1"),
        (1e20, "100000000000000000000"),
        (1.2345678901234567e20, "123456789012345670000"),
        (1e21, "1e+21"),
        (-1.5e300, "-1.5e+300"),
        (0.000001, "0.000001"),
        (0.0000015, "0.0000015"),
        (1e-7, "1e-7"),
        (2.5e-10, "2.5e-10"),
        (2.0**53, "9007199254740992"),
        (math.nan, "null"),
        (math.inf, "null"),
    ],
)
def test_numbers_are_written_as_go_writes_a_float64(value: float, text: str) -> None:
    assert to_part(number(value)).decode() == text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_reads_back_as_it_was(value: float) -> None:
    assert float(json.loads(to_part(number(value)))) == value


def test_characters_that_html_knows_are_escaped() -> None:
    assert to_text({"<a>": "b&c\u2028\u2029"}) == (
        b'{"\\u003ca\\u003e":"b\\u0026c\\u2028\\u2029"}\n'
    )


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_escaping_changes_no_value(value: object) -> None:
    assert json.loads(to_text(value)) == value
