"""The map of the source names every package, and no other."""

from __future__ import annotations

import re
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "explanation" / "architecture.md").read_text("utf-8")


def test_each_package_has_a_row() -> None:
    rooms = PAGE.partition("\n## Rooms\n")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| \[`(\w+)`\]\(\.\./\.\./services/", rooms, re.MULTILINE)

    packages = [path.parent.name for path in REPOSITORY.glob("services/spincycle/*/__init__.py")]
    assert sorted(listed) == sorted(packages)
