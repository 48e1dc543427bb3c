"""Words for which the field has technical terms are rare in names and prose."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
FOLDERS = ("services", "docs", "protos", "tests")
SUFFIXES = {".py", ".md", ".proto"}

WORDS = {"told", "teller", "telling", "whoever", "wish", "mend", "anew"}

LIMIT = 20
"""The first count that fails."""

WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
"""A word, or a part of an identifier: of snake_case, of CamelCase, or of UPPER_CASE."""


def words(text: str) -> list[str]:
    return [word.lower() for word in WORD.findall(text)]


def places() -> Iterator[str]:
    """Each occurrence as path:line: word."""
    for folder in FOLDERS:
        for file in sorted((REPOSITORY / folder).rglob("*")):
            if file.suffix in SUFFIXES and file != Path(__file__):
                for number, line in enumerate(file.read_text().splitlines(), 1):
                    for word in words(line):
                        if word in WORDS:
                            yield f"{file.relative_to(REPOSITORY)}:{number}: {word}"


def test_parts_of_identifiers_are_words() -> None:
    text = "told_at _told toldAt EventTeller WISH_LIST HTTPWish wish2 recommend told's"
    found = [word for word in words(text) if word in WORDS]

    assert found == ["told", "told", "told", "teller", "wish", "wish", "wish", "told"]


def test_the_words_are_rare() -> None:
    found = list(places())

    listed = "\n".join(found)
    assert len(found) < LIMIT, f"{len(found)} places, {LIMIT} or more fail:\n{listed}"
