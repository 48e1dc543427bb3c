"""Tables with fixed column widths that shrink to fit a narrow terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from spincycle.cli.render.text import cell_width, cut, one_line, pad, pad_left, squeeze


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table.

    Attributes:
        title: header of the column.
        width: width in terminal columns; None for a column that is never padded or cut.
        right: whether it is aligned to the right.
        squeezed: whether longer text is shortened; otherwise it shifts the rest of the row.
        gap: blanks after it.
        least: smallest width on a narrow terminal; None if it does not shrink.
        shorten: shortens a text to a number of columns.
    """

    title: str
    width: int | None = None
    right: bool = False
    squeezed: bool = False
    gap: int = 1
    least: int | None = None
    shorten: Callable[[str, int], str] = squeeze

    def cell(self, text: str) -> str:
        """Shorten and pad `text` to the column."""
        if self.width is None:
            return text
        if self.squeezed:
            text = self.shorten(text, self.width)
        return pad_left(text, self.width) if self.right else pad(text, self.width)


def table(
    columns: Sequence[Column], rows: Iterable[Sequence[str]], width: int | None = None
) -> list[str]:
    """Return the header and the rows as lines; empty if there are no rows.

    With `width`, columns shrink until the lines fit; lines that are still too long are cut.
    """
    cells = [[one_line(text) for text in row] for row in rows]
    if not cells:
        return []
    if width is not None:
        columns = _fitted(columns, cells, width)
    lines = [_line(columns, [column.title for column in columns])]
    lines += [_line(columns, row) for row in cells]
    return [cut(line, width) for line in lines] if width is not None else lines


def fits(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> bool:
    """Return whether the table fits `width` after its columns have shrunk."""
    fitted = _fitted(columns, [list(row) for row in rows], width) if rows else columns
    return all(cell_width(_line(fitted, row)) <= width for row in rows)


def _line(columns: Sequence[Column], row: Sequence[str]) -> str:
    parts: list[str] = []
    for column, text in zip(columns, row, strict=True):
        parts += [column.cell(text), " " * column.gap if column.width is not None else ""]
    return "".join(parts).rstrip() if columns[-1].width is not None else "".join(parts)


def _fitted(columns: Sequence[Column], rows: list[list[str]], width: int) -> list[Column]:
    needs = [
        max(cell_width(column.title), *(cell_width(row[place]) for row in rows))
        for place, column in enumerate(columns)
    ]
    total = sum(
        (need if column.width is None else column.width + column.gap)
        for column, need in zip(columns, needs, strict=True)
    )
    fitted = list(columns)
    for shrink_below_need in (False, True):
        for place, column in enumerate(fitted):
            if total <= width or column.width is None or column.least is None:
                continue
            least = column.least if shrink_below_need else max(needs[place], column.least)
            smaller = max(least, column.width - (total - width))
            if smaller < column.width:
                total -= column.width - smaller
                fitted[place] = replace(column, width=smaller, squeezed=True)
    return fitted
