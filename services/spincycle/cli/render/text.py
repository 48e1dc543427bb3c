"""Text in columns: widths as a terminal counts them, squeezing, cutting, quoting."""

from __future__ import annotations

import re
import unicodedata

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_READABLE = 20
"""Columns that a text must at least have below what stands before it."""

_CONTROL_IN_BLOCK = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def cell_width(text: str) -> int:
    """Columns that `text` takes on a terminal: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(map(_character_width, text))


def _character_width(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in {"Cf", "Me", "Mn"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1


def head(text: str, width: int) -> str:
    """The longest beginning of `text` that fits `width` columns."""
    used = 0
    for index, character in enumerate(text):
        used += _character_width(character)
        if used > width:
            return text[:index]
    return text


def tail(text: str, width: int) -> str:
    """The longest end of `text` that fits `width` columns."""
    used = 0
    for index in range(len(text) - 1, -1, -1):
        used += _character_width(text[index])
        if used > width:
            return text[index + 1 :]
    return text


def squeeze(text: str, width: int) -> str:
    """`text` in at most `width` columns, the middle replaced by two dots if it is longer.

    The beginning gets the odd column. Below two columns nothing is left.
    """
    if cell_width(text) <= width:
        return text
    if width < 2:
        return ""
    kept = width - 2
    right = kept // 2
    return f"{head(text, kept - right)}..{tail(text, right)}"


def cut(text: str, width: int, mark: str = "…") -> str:
    """`text` in at most `width` columns, its end replaced by `mark` if it is longer."""
    if cell_width(text) <= width:
        return text
    room = width - cell_width(mark)
    return head(text, room) + mark if room >= 0 else ""


def pad(text: str, width: int) -> str:
    """`text` with blanks on its right up to `width` columns."""
    return text + " " * (width - cell_width(text))


def pad_left(text: str, width: int) -> str:
    """`text` with blanks on its left up to `width` columns."""
    return " " * (width - cell_width(text)) + text


def one_line(text: str) -> str:
    """`text` without line breaks and control characters, so that it cannot leave its cell."""
    return _CONTROL.sub(" ", text) if _CONTROL.search(text) else text


def harmless(text: str) -> str:
    """`text` without control characters other than line feed and tab, for a terminal."""
    return _CONTROL_IN_BLOCK.sub("", text)


def hanging(line: str, indent: int, width: int | None) -> list[str]:
    """`line` in lines of at most `width` columns; those after the first begin with `indent` blanks.

    Where that leaves too little room, they begin with a few blanks only. Words stay whole.
    """
    if width is None or cell_width(line) <= width:
        return [line]
    from textwrap import wrap

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
    """`text` as one word of a command: in double quotes if it holds white space or a quote."""
    if not any(character.isspace() or character == '"' for character in text):
        return text
    return '"' + text.replace('"', '\\"') + '"'
