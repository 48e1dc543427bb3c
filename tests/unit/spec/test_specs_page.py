"""docs/reference/specs.md documents exactly the fields that a spec can have."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from spincycle.spec import arg_reader, node_reader, reader

_PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "specs.md").read_text()


def documented_in(chapter: str) -> list[str]:
    """Return the names in the first column of a chapter's table."""
    text = _PAGE.partition(f"\n## {chapter}\n")[2].partition("\n## ")[0]
    firsts = re.findall(r"^\| (`.*?`) \|", text, re.MULTILINE)
    return [name for first in firsts for name in re.findall(r"`(\w+)`", first)]


@pytest.mark.parametrize(
    ("chapter", "known", "elsewhere"),
    [
        ("A sequence", reader._SEQUENCE, set()),
        ("An argument", arg_reader._ARG, set()),
        # These two are in the example above the table.
        ("A node", node_reader._NODE, {"category", "type"}),
    ],
)
def test_every_field_is_documented(
    chapter: str, known: tuple[str, ...], elsewhere: set[str]
) -> None:
    assert sorted(documented_in(chapter)) == sorted(set(known) - elsewhere)
