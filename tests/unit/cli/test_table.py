from __future__ import annotations

from spincycle.cli.render.table import Column, table
from spincycle.cli.render.text import cell_width

COLUMNS = (
    Column("NAME", 10, squeezed=True, least=4),
    Column("N", 3, right=True),
    Column("REST"),
)


def test_no_rows_make_no_lines() -> None:
    assert table(COLUMNS, []) == []


def test_columns_keep_their_widths_and_the_last_is_not_padded() -> None:
    assert table(COLUMNS, [["one", "1", "x"], ["a-very-long-name", "22", "y  "]]) == [
        "NAME         N REST",
        "one          1 x",
        "a-ve..name  22 y  ",
    ]


def test_columns_shrink_to_their_content_before_they_are_squeezed() -> None:
    assert table(COLUMNS, [["one", "1", "x"]], width=13) == ["NAME   N REST", "one    1 x"]


def test_no_line_is_wider_than_a_narrow_terminal() -> None:
    lines = table(COLUMNS, [["a-very-long-name", "22", "日本語 and more"]], width=12)

    assert all(cell_width(line) <= 12 for line in lines)
