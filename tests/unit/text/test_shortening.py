from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spincycle.text.shortening import shortened


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_a_short_text_is_unchanged(text: str) -> None:
    assert shortened(text, 160) == text


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=41, max_size=200))
def test_a_long_text_keeps_its_ends_and_fits(text: str) -> None:
    short = shortened(text, 40)

    assert len(short.encode()) <= 40
    assert short == text or (text.startswith(short.split(" … ")[0]) and " … " in short)


@pytest.mark.parametrize("most", [4, 40, 4000])
def test_a_lone_surrogate_becomes_a_question_mark_whether_the_text_is_shortened_or_not(
    most: int,
) -> None:
    assert "\ud800" not in shortened("bad \ud800 text", most)
    assert shortened("bad \ud800 text", 4000) == "bad ? text"
