from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from spincycle.spec import LoadResult, Severity, load_specs
from spincycle.spec.source import MAX_FILE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ONE = "sequences:\n  one:\n    request: true\n    nodes:\n      n: {category: job, type: a}\n"
TWO = "sequences:\n  two:\n    nodes:\n      n: {category: job, type: a}\n"


@pytest.fixture
def specs(tmp_path: Path) -> Path:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "one.yaml").write_text(ONE)
    (tmp_path / "deep" / "er" / "two.YAML").write_text(TWO)
    (tmp_path / "three.yml").write_text("not: read")
    (tmp_path / "notes.txt").write_text("{")
    return tmp_path


def test_every_yaml_file_below_the_directory_is_read_whatever_the_case(specs: Path) -> None:
    result = load_specs(specs)

    assert result.findings == []
    assert result.specs is not None
    assert sorted(result.specs.sequences) == ["noop", "one", "two"]
    assert [request.name for request in result.specs.requests()] == ["one"]
    assert result.specs.sequences["two"].file == "deep/er/two.YAML"


def test_the_links_of_a_mounted_config_map_are_read_once(tmp_path: Path) -> None:
    (tmp_path / "..2026").mkdir()
    (tmp_path / "..2026" / "one.yaml").write_text(ONE)
    (tmp_path / "..data").symlink_to("..2026")
    (tmp_path / "one.yaml").symlink_to("..data/one.yaml")

    result = load_specs(tmp_path)

    assert result.findings == []
    assert set(result.sources) == {"one.yaml"}


def test_the_revision_changes_with_the_content_and_only_then(specs: Path) -> None:
    first = load_specs(specs).specs
    second = load_specs(specs).specs
    (specs / "one.yaml").write_text(ONE + "# a remark\n")
    third = load_specs(specs).specs

    assert first is not None
    assert second is not None
    assert third is not None
    assert first.revision == second.revision != third.revision


def test_one_sequence_in_two_files_is_an_error_that_names_both(
    load: Callable[..., LoadResult],
) -> None:
    result = load(a=ONE, b=ONE)

    (finding,) = result.findings
    assert (finding.code, finding.severity) == ("duplicate-sequence", Severity.ERROR)
    assert (finding.file, finding.line, finding.sequence) == ("b.yaml", 2, "one")
    assert "a.yaml" in finding.message
    assert result.specs is None


def test_a_missing_directory_is_a_finding(tmp_path: Path) -> None:
    result = load_specs(tmp_path / "none")

    assert [finding.code for finding in result.findings] == ["unreadable-directory"]
    assert result.specs is None


def test_a_directory_without_specs_loads_with_a_warning(tmp_path: Path) -> None:
    result = load_specs(tmp_path)

    assert [finding.code for finding in result.findings] == ["no-sequences"]
    assert result.specs is not None
    assert result.specs.requests() == []


def test_a_file_that_is_not_text_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_bytes(b"sequences: \xff\xfe")
    (tmp_path / "y.yaml").write_text(ONE)

    result = load_specs(tmp_path)

    assert [finding.code for finding in result.findings] == ["unreadable-file"]
    assert result.specs is None


def test_a_pipe_among_the_spec_files_is_reported_without_blocking(specs: Path) -> None:
    os.mkfifo(specs / "pipe.yaml")

    (finding,) = load_specs(specs).findings

    assert (finding.code, finding.file) == ("unreadable-file", "pipe.yaml")
    assert "not a regular file" in finding.message


def test_a_spec_file_beyond_the_limit_is_reported_without_reading_all_of_it(specs: Path) -> None:
    with (specs / "large.yaml").open("wb") as file:
        file.truncate(100 * 1024**3)

    (finding,) = load_specs(specs).findings

    assert (finding.code, finding.file) == ("unreadable-file", "large.yaml")
    assert str(MAX_FILE_BYTES) in finding.message
