"""Text in terminal columns: measuring, shortening, padding, wrapping, quoting.

Only text outside ASCII needs the width tables of wcwidth, which take 20 ms to import.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_CONTROL_IN_BLOCK = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

_READABLE = 20
"""Fewest columns in which wrapped text is still readable."""


def cell_width(text: str) -> int:
    """Return the terminal columns of `text`: wide characters take two, combining ones none.

    A control character counts as one column.
    """
    return len(text) if text.isascii() else _wide_width(text)


# The branches of a tree repeat in every line of every repaint.
@lru_cache(maxsize=1024)
def _wide_width(text: str) -> int:
    from wcwidth import wcswidth

    width = wcswidth(text)
    return width if width >= 0 else sum(width for _, width in _clusters(text))


def _clusters(text: str) -> Iterator[tuple[str, int]]:
    """Yield what the terminal shows as one character, such as an emoji sequence, and its width."""
    from wcwidth import iter_graphemes, wcswidth

    for cluster in iter_graphemes(text):
        width = wcswidth(cluster)
        yield cluster, width if width >= 0 else len(cluster)


def head(text: str, width: int) -> str:
    """Return the longest beginning of `text` that fits `width` columns."""
    if text.isascii():
        return text[: max(width, 0)]
    used = end = 0
    for cluster, columns in _clusters(text):
        used += columns
        if used > width:
            return text[:end]
        end += len(cluster)
    return text


def tail(text: str, width: int) -> str:
    """Return the longest end of `text` that fits `width` columns."""
    if text.isascii():
        return text[max(len(text) - max(width, 0), 0) :]
    used, begin = 0, len(text)
    for cluster, columns in reversed(list(_clusters(text))):
        used += columns
        if used > width:
            return text[begin:]
        begin -= len(cluster)
    return text


def squeeze(text: str, width: int) -> str:
    """Shorten `text` to at most `width` columns by replacing its middle with two dots.

    The beginning gets the odd column. The result is empty below two columns.
    """
    if cell_width(text) <= width:
        return text
    if width < 2:
        return ""
    kept = width - 2
    right = kept // 2
    return f"{head(text, kept - right)}..{tail(text, right)}"


def cut(text: str, width: int, mark: str = "…") -> str:
    """Shorten `text` to at most `width` columns by replacing its end with `mark`."""
    if cell_width(text) <= width:
        return text
    room = width - cell_width(mark)
    return head(text, room) + mark if room >= 0 else ""


def pad(text: str, width: int) -> str:
    """Fill `text` up to `width` columns with blanks on its right."""
    return text + " " * (width - cell_width(text))


def pad_left(text: str, width: int) -> str:
    """Fill `text` up to `width` columns with blanks on its left."""
    return " " * (width - cell_width(text)) + text


def one_line(text: str) -> str:
    """Replace line breaks and control characters, so that the text stays in its cell."""
    return _CONTROL.sub(" ", text) if _CONTROL.search(text) else text


def printable(text: str) -> str:
    """Remove control characters other than line feed and tab, for a terminal."""
    return _CONTROL_IN_BLOCK.sub("", text)


def hanging(line: str, indent: int, width: int | None) -> list[str]:
    """Wrap `line` to `width` columns with a hanging indent of `indent` blanks.

    The indent shrinks on a terminal too narrow for it. Words stay whole.
    """
    if width is None or cell_width(line) <= width:
        return [line]
    if line.isascii():
        from textwrap import wrap
    else:
        from wcwidth import wrap

    indent = indent if width - indent >= _READABLE else min(4, width // 4)
    text = line.lstrip(" ")
    return wrap(
        text,
        width,
        initial_indent=line[: len(line) - len(text)],
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def quote(text: str) -> str:
    """Return `text` as one shell word: in double quotes if it holds white space or a quote."""
    if not any(character.isspace() or character == '"' for character in text):
        return text
    return '"' + text.replace('"', '\\"') + '"'
