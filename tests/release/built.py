"""The distributions of this checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]

DIST_VARIABLE = "SPINCYCLE_DIST"
"""Names a directory with a wheel and an sdist to test in place of new ones."""


def build_wheel(directory: Path) -> Path:
    """Build a wheel from the checkout, which takes a second."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    return only(directory, "*.whl")


def given_wheel() -> Path | None:
    """The wheel to test in place of a new one."""
    given = os.environ.get(DIST_VARIABLE)
    return only(Path(given), "*.whl") if given else None


def build_release(directory: Path) -> Path:
    """Build an sdist, and a wheel from it, unless they are given; return their directory."""
    if given := os.environ.get(DIST_VARIABLE):
        return Path(given)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(directory)]
    subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True)
    return directory


def only(directory: Path, pattern: str) -> Path:
    """The one file of a directory that fits the pattern."""
    (file,) = directory.glob(pattern)
    return file
