"""The page on durability names a test for each row; each must be there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs/explanation/durability.md").read_text()
ROWS = [
    line
    for line in PAGE.partition("## What survives which failure")[2]
    .partition("## How it works")[0]
    .splitlines()
    if line.startswith("| ")
][2:]


@pytest.mark.parametrize("row", ROWS, ids=[row.split("|")[1].strip() for row in ROWS])
def test_each_row_names_a_test_that_exists(row: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)

    assert named
    for file, test in named:
        assert f"def {test}(" in (REPOSITORY / file).read_text()
