from __future__ import annotations

import pytest

from spincycle.cli.render.text import cell_width, cut, hanging, one_line, pad, quote, squeeze


@pytest.mark.parametrize(
    ("text", "width", "squeezed"),
    [
        ("hello, world!", 5, "he..!"),
        ("hello, world!", 2, ".."),
        ("hello, world!", 1, ""),
        ("hello, world!", 0, ""),
        ("hello", 5, "hello"),
        ("this-is-a-very-long-job-name", 20, "this-is-a..-job-name"),
    ],
)
def test_long_text_is_squeezed_in_its_middle(text: str, width: int, squeezed: str) -> None:
    assert squeeze(text, width) == squeezed


def test_wide_characters_count_as_two_columns_and_combining_ones_as_none() -> None:
    assert cell_width("日本") == 4
    assert cell_width("e\u0301") == 1


def test_a_squeezed_wide_character_is_never_cut_in_half() -> None:
    assert cell_width(squeeze("日本語の仕事の名前", 8)) <= 8
    assert squeeze("日本語の仕事の名前", 9) == "日本..前"


def test_padding_counts_columns_not_characters() -> None:
    assert pad("日本", 6) == "日本  "


def test_text_that_is_cut_ends_in_a_mark() -> None:
    assert cut("uploading 3/7", 8) == "uploadi…"
    assert cut("short", 8) == "short"


@pytest.mark.parametrize(
    ("value", "quoted"),
    [
        ("plain", "plain"),
        ("two words", '"two words"'),
        ("a\ttab", '"a\ttab"'),
        ('say "hi"', '"say \\"hi\\""'),
        ('5"', '"5\\""'),
    ],
)
def test_values_with_white_space_or_quotes_are_quoted(value: str, quoted: str) -> None:
    assert quote(value) == quoted


def test_control_characters_cannot_leave_their_cell() -> None:
    assert one_line("a\nb\x1b[2Jc") == "a b [2Jc"


def test_a_long_line_goes_on_below_its_text() -> None:
    line = "  name  What it is and what it does"

    assert hanging(line, 8, None) == [line]
    assert hanging(line, 8, 80) == [line]
    assert hanging(line, 8, 28) == ["  name  What it is and what", "        it does"]


def test_a_line_goes_on_further_left_where_there_is_no_room_below_its_text() -> None:
    assert hanging("  name  What it is", 8, 14) == ["  name  What", "   it is"]
    assert hanging("  a-word-that-is-too-long", 8, 10) == ["  a-word-that-is-too-long"]
