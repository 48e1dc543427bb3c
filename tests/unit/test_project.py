"""pyproject.toml is the one place of the version, and CHANGELOG.md has its form."""

from __future__ import annotations

import re
import subprocess
import tomllib
from importlib.metadata import version
from pathlib import Path

from spincycle.runtime.version import VERSION

REPOSITORY = Path(__file__).parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
CHANGELOG = (REPOSITORY / "CHANGELOG.md").read_text()

KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
"""The sections of Keep a Changelog."""

IMAGE = re.compile(r"\bspincycle:(\d+\.\d+\.\d+)|\bnewTag: (\S+)")
"""Tags of images of Spin Cycle."""


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, check=True, capture_output=True, text=True
    )
    return [REPOSITORY / name for name in listed.stdout.split("\0") if name]


def test_the_version_is_that_of_the_installation() -> None:
    assert VERSION == version("spincycle") == PROJECT["version"]


def test_every_image_is_of_the_version() -> None:
    others = [
        f"{file.relative_to(REPOSITORY)}: {found[0]}"
        for file in tracked()
        if file.name == "Containerfile" or file.suffix in {".md", ".yaml"}
        for found in IMAGE.finditer(file.read_text())
        if PROJECT["version"] not in found.groups()
    ]

    assert others == []


def test_no_source_has_the_version() -> None:
    assigned = re.compile(rf'["\']{re.escape(PROJECT["version"])}["\']')
    found = [
        str(file.relative_to(REPOSITORY))
        for file in (REPOSITORY / "services").rglob("*.py")
        if assigned.search(file.read_text())
    ]

    assert found == []


def test_the_changelog_has_releases_with_dates_after_what_is_unreleased() -> None:
    first, *others = re.findall(r"^## (.+)$", CHANGELOG, re.MULTILINE)

    assert first == "[Unreleased]"
    for heading in others:
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d{2}-\d{2}", heading), heading


def test_the_changelog_groups_changes_by_kind() -> None:
    for release in re.split(r"^## ", CHANGELOG, flags=re.MULTILINE)[1:]:
        kinds = re.findall(r"^### (.+)$", release, re.MULTILINE)
        assert set(kinds) <= KINDS
        assert len(kinds) == len(set(kinds))
