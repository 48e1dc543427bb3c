"""The table of metrics names those that the services serve, and no other."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "how-to" / "operations.md").read_text("utf-8")


def test_the_table_has_every_metric() -> None:
    table = PAGE.partition("\n## Monitor\n")[2].partition("\n## ")[0]
    listed = set(re.findall(r"`(spincycle_\w+?)(?:_total)?[`{]", table))

    assert listed == set(served())


def served() -> list[str]:
    """The names of metrics in the source; counters get `_total` when they are served."""
    declared = r'(?:counter|gauge|histogram)\(\s*"(spincycle_\w+)"'
    return [
        name
        for file in REPOSITORY.glob("services/spincycle/**/*.py")
        for name in re.findall(declared, file.read_text("utf-8"))
    ]
