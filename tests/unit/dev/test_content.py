from __future__ import annotations

from pathlib import Path

import pytest

from spincycle.dev.content import EXAMPLE_JOBS, find_content
from spincycle.dev.errors import StackError


def test_without_specs_the_examples_of_the_working_directory_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("specs", "jobs"):
        (tmp_path / "examples" / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)

    content = find_content(None, ())

    assert content.specs == tmp_path / "examples" / "specs"
    assert content.jobs == (EXAMPLE_JOBS,)
    assert content.python_path == (tmp_path,)


def test_given_specs_do_not_load_the_example_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)

    content = find_content(Path("mine"), ("my_jobs:jobs",))

    assert content.specs == tmp_path / "mine"
    assert content.jobs == ("my_jobs:jobs",)
    assert content.python_path == (tmp_path,)


def test_specs_that_are_not_a_directory_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="is not a directory of spec files"):
        find_content(tmp_path / "none", ())
