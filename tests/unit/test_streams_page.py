"""The page on streams names a test for each promise; each must be there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs/explanation/streams.md").read_text()
TABLE = PAGE.partition("## What is promised")[2].partition("## Cursors")[0]
PROMISES = re.findall(r"^\| (\d+) \| (.*) \|$", TABLE, re.MULTILINE)


@pytest.mark.parametrize("promise", [said for _, said in PROMISES], ids=[n for n, _ in PROMISES])
def test_each_promise_names_a_test_that_exists(promise: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", promise)

    assert named
    for file, test in named:
        assert f"def {test}(" in (REPOSITORY / file).read_text()
