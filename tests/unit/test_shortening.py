from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spincycle.shortening import shortened


@given(st.text(max_size=40))
def test_a_short_text_stays_as_it_is(text: str) -> None:
    assert shortened(text, 160) == text


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=41, max_size=200))
def test_a_long_text_keeps_its_ends_and_fits(text: str) -> None:
    short = shortened(text, 40)

    assert len(short.encode()) <= 40
    assert short == text or (text.startswith(short.split(" … ")[0]) and " … " in short)
