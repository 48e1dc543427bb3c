from __future__ import annotations

import pytest

from spincycle.cli.render.text import (
    cell_width,
    cut,
    hanging,
    head,
    one_line,
    pad,
    pad_left,
    quote,
    squeeze,
    tail,
)

FAMILY = "👩\u200d👩\u200d👧"
"""Three emoji that a terminal joins to one of two columns."""


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


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("", 0),
        ("plain", 5),
        ("日本", 4),
        ("e\u0301", 1),
        ("\u0301", 0),
        (FAMILY, 2),
        (f"a{FAMILY}b", 4),
        ("👍🏽", 2),
        ("🇩🇪", 2),
        ("❤", 1),
        ("❤\ufe0f", 2),
        ("1\ufe0f\u20e3", 2),
        ("ก็", 1),
        ("a\u200bb", 2),
        ("✔ ○ … ├─", 8),
    ],
)
def test_width_is_that_on_a_terminal(text: str, width: int) -> None:
    assert cell_width(text) == width


@pytest.mark.parametrize("text", ["a\x1bb", "日\x1b本"])
def test_a_control_character_counts_as_one_column(text: str) -> None:
    assert cell_width(text) == 1 + cell_width(text.replace("\x1b", ""))


@pytest.mark.parametrize("cluster", [FAMILY, "👍🏽", "🇩🇪", "❤\ufe0f", "e\u0301", "日"])
def test_an_emoji_sequence_is_never_cut_in_two(cluster: str) -> None:
    text = cluster * 3
    columns = cell_width(cluster)
    for width in range(3 * columns + 2):
        fitting = min(width // columns, 3)
        assert head(text, width) == cluster * fitting
        assert tail(text, width) == cluster * fitting


@pytest.mark.parametrize("width", range(-1, 8))
def test_ends_of_ascii_text_are_cut_like_those_of_other_text(width: int) -> None:
    assert head("plain", width) == head("plain…", width).removesuffix("…")
    assert tail("plain", width) == tail("…plain", width).removeprefix("…")


def test_cells_with_emoji_sequences_are_aligned() -> None:
    assert pad(FAMILY, 4) == FAMILY + "  "
    assert pad_left("❤\ufe0f", 4) == "  ❤\ufe0f"
    assert squeeze(f"{FAMILY}-is-a-long-name-{FAMILY}", 10) == f"{FAMILY}-i..e-{FAMILY}"
    assert cut(f"x{FAMILY}y", 3) == "x…"


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


def test_control_characters_are_replaced() -> None:
    assert one_line("a\nb\x1b[2Jc") == "a b [2Jc"


def test_a_wrapped_line_of_wide_characters_fits() -> None:
    line = "  name  何を する か を 説明 する 文章"

    lines = hanging(line, 8, 30)

    assert lines == ["  name  何を する か を 説明", "        する 文章"]
    assert all(cell_width(part) <= 30 for part in lines)


def test_a_long_line_continues_below_its_text() -> None:
    line = "  name  What it is and what it does"

    assert hanging(line, 8, None) == [line]
    assert hanging(line, 8, 80) == [line]
    assert hanging(line, 8, 28) == ["  name  What it is and what", "        it does"]


def test_a_line_continues_further_left_if_there_is_no_room_below_its_text() -> None:
    assert hanging("  name  What it is", 8, 14) == ["  name  What", "   it is"]
    assert hanging("  a-word-that-is-too-long", 8, 10) == ["  a-word-that-is-too-long"]
