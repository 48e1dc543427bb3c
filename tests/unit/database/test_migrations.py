from __future__ import annotations

import sys
from pathlib import Path

import pytest

from spincycle.database.migrations import Migration, load_migrations


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    migrations = tmp_path / "migrated_service" / "migrations"
    migrations.mkdir(parents=True)
    (tmp_path / "migrated_service" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "migrated_service", raising=False)
    return migrations


def test_steps_are_sorted_by_their_numbers(package: Path) -> None:
    (package / "0002_more.sql").write_text("SELECT 2;")
    (package / "0001_begin.sql").write_text("SELECT 1;")
    (package / "schema.txt").write_text("not a step")

    assert load_migrations("migrated_service") == [
        Migration(1, "begin", "SELECT 1;"),
        Migration(2, "more", "SELECT 2;"),
    ]


@pytest.mark.parametrize("names", [["0002_a"], ["0001_a", "0003_b"], ["0001_a", "0001_b"]])
def test_a_gap_or_a_duplicate_number_is_an_error(package: Path, names: list[str]) -> None:
    for name in names:
        (package / f"{name}.sql").touch()

    with pytest.raises(ValueError, match="migrations are not numbered 1, 2, 3"):
        load_migrations("migrated_service")


def test_an_edited_step_has_another_checksum() -> None:
    assert Migration(1, "a", "SELECT 1").checksum != Migration(1, "a", "SELECT 2").checksum
    assert Migration(1, "a", "SELECT 1").checksum == Migration(1, "b", "SELECT 1").checksum


@pytest.mark.parametrize("package", ["spincycle.request_manager", "spincycle.job_log"])
def test_the_steps_of_the_services_are_numbered(package: str) -> None:
    assert load_migrations(package)
