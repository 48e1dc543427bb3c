from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from spincycle.job.bounded_output import BoundedOutput, bounded_text


def test_short_output_is_kept_whole() -> None:
    assert bounded_text("all of it", limit=9) == "all of it"


def test_long_output_keeps_head_and_tail_and_counts_the_rest() -> None:
    assert bounded_text("abcdefghij", limit=4) == "ab\n[... 6 bytes cut ...]\nij"


def test_a_character_cut_in_two_does_not_break_the_text() -> None:
    assert "\ufffd" in bounded_text("ä" * 10, limit=6)


def test_a_huge_text_is_cut_without_encoding_its_middle() -> None:
    assert bounded_text("ab" + "x" * 100 + "yz", limit=4) == "ab\n[... 100 bytes cut ...]\nyz"
    cut = bounded_text("ab" + "ä" * 100 + "yz", limit=4)
    assert cut.startswith("ab\n[... at least 1")
    assert cut.endswith(" bytes cut ...]\nyz")


@given(st.lists(st.binary(max_size=40)), st.integers(min_value=2, max_value=50))
def test_the_same_is_kept_however_the_output_is_chunked(chunks: list[bytes], limit: int) -> None:
    piecewise, whole = BoundedOutput(limit), BoundedOutput(limit)
    for chunk in chunks:
        piecewise.write(chunk)
    whole.write(b"".join(chunks))

    assert piecewise.text() == whole.text()
    if sum(map(len, chunks)) <= limit:
        assert piecewise.text() == b"".join(chunks).decode(errors="replace")


@given(st.text(max_size=200), st.integers(min_value=2, max_value=50))
def test_text_that_was_cut_is_not_cut_again(text: str, limit: int) -> None:
    cut = bounded_text(text, limit)
    assert bounded_text(cut, limit) == cut
