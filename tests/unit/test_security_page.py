"""The page on security names a test for each attack; each must be there, and each must be named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs/security.md").read_text()
ATTACKS = PAGE.partition("## Attacks")[2].partition("## Not defended")[0]
ROWS = [
    line
    for line in ATTACKS.splitlines()
    if line.startswith("| ") and not line.startswith(("| ---", "| attack |", "| event |"))
]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@pytest.mark.parametrize("row", ROWS, ids=[row.split("|")[1].strip()[:60] for row in ROWS])
def test_each_attack_names_a_test_that_exists(row: str) -> None:
    named = NAMED.findall(row)

    assert named
    for file, test in named:
        assert f"def {test}(" in (REPOSITORY / file).read_text(), test


def test_each_attack_that_a_test_plays_is_on_the_page() -> None:
    played = {
        (str(file.relative_to(REPOSITORY)), test)
        for file in (REPOSITORY / "tests/security").glob("test_*.py")
        for test in re.findall(r"^(?:async )?def (test_\w+)\(", file.read_text(), re.MULTILINE)
    }

    assert played - set(NAMED.findall(ATTACKS)) == set()


def test_the_page_says_what_is_not_defended() -> None:
    assert PAGE.partition("## Not defended")[2].count("\n- **") >= 5
