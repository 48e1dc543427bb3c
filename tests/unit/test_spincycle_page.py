"""The page on the commands of `spincycle` is made from them."""

from __future__ import annotations

from pathlib import Path

from tests.documentation.spincycle_page import spincycle_page

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "spincycle.md"


def test_the_page_is_generated_from_the_commands() -> None:
    assert PAGE.read_text("utf-8") == spincycle_page(), "run make generate and commit it"
