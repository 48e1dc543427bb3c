"""Relative links and anchors in README, CONTRIBUTING, CHANGELOG and docs resolve."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGES = [
    *REPOSITORY.glob("*.md"),
    *sorted(REPOSITORY.glob("docs/**/*.md")),
    *sorted(REPOSITORY.glob("examples/*/*.md")),
]


def prose(page: Path) -> str:
    """The text of a page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors that GitHub makes of a page's headings."""
    found: list[str] = []
    for heading in re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", text.strip().lower()).replace(" ", "-")
        repeated = sum(bool(re.fullmatch(re.escape(anchor) + r"(-\d+)?", one)) for one in found)
        found.append(f"{anchor}-{repeated}" if repeated else anchor)
    return frozenset(found)


def links(page: Path) -> list[str]:
    """The relative targets of a page's links and images."""
    text = re.sub(r"`[^`\n]*`", "``", prose(page))
    targets = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'(?:src|href)="([^"]+)"', text)
    return [one for one in targets if not re.match(r"[a-z]+:", one)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_resolves(page: Path) -> None:
    broken = []
    for target in links(page):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(target)

    assert broken == []


def test_every_page_can_be_reached_from_the_index() -> None:
    index = REPOSITORY / "docs" / "README.md"
    reachable: set[Path] = set()
    pending = [index]
    while pending:
        page = pending.pop()
        if page in reachable:
            continue
        reachable.add(page)
        for target in links(page):
            file = (page.parent / target.partition("#")[0]).resolve()
            if file.suffix == ".md" and file.is_relative_to(REPOSITORY / "docs"):
                pending.append(file)

    assert set(REPOSITORY.glob("docs/**/*.md")) <= reachable


@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if page.parent.parent.name == "docs"],
    ids=lambda page: str(page.relative_to(REPOSITORY)),
)
def test_every_page_begins_with_what_it_is_for(page: Path) -> None:
    title, _, rest = page.read_text("utf-8").partition("\n\n")

    assert title.startswith("# ")
    assert re.match(r"[A-Z`\[]", rest), "a sentence comes first"
