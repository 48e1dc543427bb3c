"""`spincycle grant-keys` makes and rotates the keys of append grants."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from spincycle.admin.main import main
from spincycle.identity.grant_key_file import GrantKeyFile, read_grant_keys

RUNNER = "spiffe://spincycle/spincycle/job-runner/1"


def grant_keys(*words: object) -> Result:
    return CliRunner().invoke(main, ["grant-keys", *map(str, words)])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "grant-keys"
    assert grant_keys("new", path, "--id", "old").exit_code == 0
    return path


def test_a_new_file_has_one_random_key_that_only_its_owner_can_read(
    file: Path, tmp_path: Path
) -> None:
    grant_keys("new", tmp_path / "other", "--id", "old")

    assert file.stat().st_mode & 0o777 == 0o600
    assert list(read_grant_keys(file)) == ["old"]
    assert read_grant_keys(file) != read_grant_keys(tmp_path / "other")


def test_a_file_is_never_overwritten(file: Path) -> None:
    before = file.read_bytes()

    result = grant_keys("new", file)

    assert result.exit_code == 2
    assert f"error: {file} exists" in result.output
    assert file.read_bytes() == before


def test_grants_are_valid_through_every_step_of_a_rotation(file: Path) -> None:
    """Before and after each step, since processes read the file at different times."""
    steps = [("add", file, "--id", "new"), ("use", file, "new"), ("drop", file, "old")]
    states = [GrantKeyFile(file).keys]
    for step in steps:
        assert grant_keys(*step).exit_code == 0
        states.append(GrantKeyFile(file).keys)

    for earlier, later in pairwise(states):
        current = later.grant("r", 1, RUNNER)
        assert not earlier.verify(current, RUNNER)
    started_with_old = states[1].grant("r", 1, RUNNER)
    assert [not keys.verify(started_with_old, RUNNER) for keys in states] == [
        True,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        (("add", "--id", "new"), ["old", "new"]),
        (("use", "old"), ["old"]),
        (("drop", "new"), ["old"]),
    ],
)
def test_a_repeated_step_changes_nothing(
    file: Path, words: tuple[str, ...], ids: list[str]
) -> None:
    command, *rest = words
    first = grant_keys(command, file, *rest)
    keys = read_grant_keys(file)

    second = grant_keys(command, file, *rest)

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert first.output == second.output
    assert list(read_grant_keys(file).items()) == list(keys.items())
    assert list(keys) == ids


def test_the_key_that_signs_is_not_dropped(file: Path) -> None:
    result = grant_keys("drop", file, "old")

    assert result.exit_code == 2
    assert 'the key "old" signs; use another one first' in result.output
    assert list(read_grant_keys(file)) == ["old"]


def test_a_key_that_is_not_in_the_file_cannot_be_used(file: Path) -> None:
    result = grant_keys("use", file, "new")

    assert result.exit_code == 2
    assert f'{file} has no key "new"; it has old' in result.output


def test_a_changed_file_keeps_its_mode(file: Path) -> None:
    file.chmod(0o640)

    grant_keys("add", file, "--id", "new")

    assert file.stat().st_mode & 0o777 == 0o640
    assert list(file.parent.iterdir()) == [file]


@pytest.mark.parametrize("command", ["add", "use", "drop"])
def test_a_file_without_keys_is_not_changed(tmp_path: Path, command: str) -> None:
    file = tmp_path / "notes"
    file.write_text("nonsense\n")

    result = grant_keys(command, file, *(["--id", "new"] if command == "add" else ["new"]))

    assert result.exit_code == 2
    assert f"error: {file}:1: not a grant key" in result.output
    assert file.read_text() == "nonsense\n"


def test_no_command_prints_a_key(file: Path) -> None:
    printed = grant_keys("add", file, "--id", "new").output + grant_keys("use", file, "new").output

    assert not any(key.hex() in printed for key in read_grant_keys(file).values())


def test_an_id_that_is_not_valid_is_refused(tmp_path: Path) -> None:
    result = grant_keys("new", tmp_path / "file", "--id", "a b")

    assert result.exit_code == 2
    assert '"a b" is not an id' in result.output
    assert not (tmp_path / "file").exists()
