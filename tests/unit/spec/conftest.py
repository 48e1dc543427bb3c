from __future__ import annotations

from textwrap import dedent
from typing import TYPE_CHECKING

import pytest

from spincycle.spec import Finding, JobTypeRule, LoadResult, Source, check_sources

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def load() -> Callable[..., LoadResult]:
    """Check spec text, or several files given by name."""

    def run(text: str = "", *, job_types: JobTypeRule | None = None, **files: str) -> LoadResult:
        named = {f"{name}.yaml": body for name, body in files.items()}
        if text:
            named["test.yaml"] = text
        sources = [Source(name, dedent(body)) for name, body in named.items()]
        return check_sources(sources, job_types)

    return run


@pytest.fixture
def check(load: Callable[..., LoadResult]) -> Callable[..., list[Finding]]:
    """Check spec text and return the findings."""

    def run(text: str = "", **options: object) -> list[Finding]:
        return load(text, **options).findings

    return run
