from __future__ import annotations

from pathlib import Path

import pytest

from spincycle.dev import content as content_module
from spincycle.dev.content import (
    EXAMPLE_JOBS,
    INSTALLED_EXAMPLE_JOBS,
    find_content,
    has_example_jobs,
)
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


def test_elsewhere_the_examples_of_the_checkout_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    content = find_content(None, ())

    checkout = Path(__file__).parents[3]
    assert content.specs == checkout / "examples" / "specs"
    assert content.jobs == (EXAMPLE_JOBS,)
    assert content.python_path == (tmp_path, checkout)
    assert has_example_jobs(content)


def test_in_an_installed_wheel_the_examples_that_it_contains_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "lib" / "site-packages" / "spincycle"
    for name in ("specs", "jobs"):
        (package / "examples" / name).mkdir(parents=True)
    monkeypatch.setattr(content_module, "_PACKAGE", package)
    monkeypatch.chdir(tmp_path)

    content = find_content(None, ())

    assert content.specs == package / "examples" / "specs"
    assert content.jobs == (INSTALLED_EXAMPLE_JOBS,)
    assert content.python_path == (tmp_path,)
    assert has_example_jobs(content)


def test_without_examples_anywhere_the_error_names_the_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_module, "_PACKAGE", tmp_path / "site-packages" / "spincycle")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(StackError, match="--specs"):
        find_content(None, ())


def test_specs_that_are_named_bring_no_example_jobs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)

    content = find_content(Path("mine"), ("my_jobs:jobs",))

    assert content.specs == tmp_path / "mine"
    assert content.jobs == ("my_jobs:jobs",)
    assert content.python_path == (tmp_path,)
    assert not has_example_jobs(content)


def test_specs_that_are_not_a_directory_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="is not a directory of spec files"):
        find_content(tmp_path / "none", ())
