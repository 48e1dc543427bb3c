from __future__ import annotations

import pytest

from spincycle.database.migrations import load_migrations


@pytest.mark.parametrize("package", ["spincycle.request_manager", "spincycle.job_log"])
def test_the_migrations_of_a_service_are_numbered_without_gaps_and_twins(package: str) -> None:
    assert load_migrations(package)
