"""`spincycle init` writes a project into an empty directory, and into no other."""

from __future__ import annotations

import importlib.util
import shutil
from importlib.resources import files
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from spincycle.admin.init import FILES
from spincycle.admin.main import main


def init(directory: Path | str) -> Result:
    return CliRunner().invoke(main, ["init", str(directory)])


def test_every_template_is_a_file_of_the_project() -> None:
    root = Path(str(files("spincycle.admin") / "templates"))
    templates = {
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }

    assert templates == set(FILES)


def test_a_new_directory_gets_the_project(tmp_path: Path) -> None:
    directory = tmp_path / "not" / "there"

    result = init(directory)

    assert result.exit_code == 0, result.output
    assert {str(path.relative_to(directory)) for path in directory.rglob("*")} >= set(FILES)
    assert "make lint" in result.output
    assert f"cd {directory}" in result.output


def test_the_working_directory_gets_it_if_it_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    result = init(".")

    assert result.exit_code == 0, result.output
    assert (tmp_path / "my_jobs.py").exists()
    assert "cd " not in result.output


def test_a_directory_with_anything_in_it_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / ".hidden").touch()

    result = init(tmp_path)

    assert result.exit_code == 1
    assert "is not empty: name a new directory or an empty one" in result.output
    assert [path.name for path in tmp_path.iterdir()] == [".hidden"]


def test_a_file_in_the_place_of_the_directory_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")

    result = init(file)

    assert result.exit_code == 1
    assert f"error: cannot write a project into {file}" in result.output
    assert file.read_text() == "mine"


def test_programs_that_the_shell_does_not_find_are_put_on_the_path_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)

    assert "export PATH=" in init(tmp_path / "project").output


def test_without_pytest_its_installation_is_a_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    assert "pip install pytest" in init(tmp_path / "project").output
