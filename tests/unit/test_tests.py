"""Tests do not depend on each other, nor on what a machine happens to lack."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]

TEST_MODULE = re.compile(
    r"\b(?:from|import) tests(?:\.\w+)*\.test_\w+|\bfrom \.+(?:\w+\.)*test_\w+"
)
"""An import of a test module, also one in the source of a program that a test runs."""

ABSENT_DIRECTORY = "/" + "nonexistent"
"""A path that an account or an image may have; tmp_path has free names."""

IGNORE = re.compile(r"# type: ignore(?!\[[\w,-]+\] # \S)")
"""A comment for mypy that does not have both a code and a reason."""


def places(pattern: re.Pattern[str]) -> Iterator[str]:
    """Each line that matches as path:line: text."""
    for file in sorted(TESTS.rglob("*.py")):
        if file != Path(__file__):
            for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
                if pattern.search(line):
                    yield f"{file.relative_to(TESTS)}:{number}: {line.strip()}"


def test_imports_of_test_modules_are_recognized() -> None:
    lines = (
        "from tests.unit.test_a import b",
        "    from tests.test_a import b",
        "import tests.unit.test_a",
        "from .test_a import b",
    )

    assert all(map(TEST_MODULE.search, lines))
    assert not TEST_MODULE.search("from tests.unit.graph.shapes import test_data")


def test_no_test_module_is_imported_by_another_module() -> None:
    assert not list(places(TEST_MODULE))


def test_no_test_depends_on_a_directory_that_a_machine_may_lack() -> None:
    assert not list(places(re.compile(re.escape(ABSENT_DIRECTORY))))


def test_every_error_of_mypy_that_is_ignored_has_a_code_and_a_reason() -> None:
    assert not list(places(IGNORE))
