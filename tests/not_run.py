"""Tests whose tool is missing here say so in pytest's summary, and do not count as passed."""

from __future__ import annotations

import shutil
from typing import NoReturn

import pytest


def not_run(tool: str, why: str) -> NoReturn:
    """End the test as not run for want of a tool."""
    pytest.skip(f"NOT RUN: {tool}: {why}")


def path_of(tool: str) -> str:
    """Path of a program; without it the test is not run."""
    return shutil.which(tool) or not_run(tool, f"install the package {tool}")
