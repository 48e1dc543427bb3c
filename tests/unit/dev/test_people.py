from __future__ import annotations

import stat
from pathlib import Path

import pytest
import yaml

from spincycle.access.token_file import parse_token_file, token_digest
from spincycle.cli.settings import resolve
from spincycle.dev.errors import StackError
from spincycle.dev.people import Person, parse_people, write_people

ALICE = Person("alice", ("ops", "viewer"))
BOB = Person("bob/../x")


def test_people_have_a_name_and_roles() -> None:
    assert parse_people(["alice:ops,viewer", "bob", "eve:"]) == (
        ALICE,
        Person("bob"),
        Person("eve"),
    )


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        ([":ops"], "the name is empty"),
        (["a\nb"], "cannot be printed"),
        (["a: ops"], "the role"),
        (["a:x", "a:y"], '"a" is given twice'),
    ],
)
def test_what_names_nobody_is_refused(texts: list[str], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        parse_people(texts)


def test_each_person_has_a_token_that_the_services_recognise(tmp_path: Path) -> None:
    files = write_people(tmp_path, [ALICE, BOB], "127.0.0.1:1", "127.0.0.1:2")

    assert files is not None
    entries = parse_token_file(files.digests.read_bytes(), files.digests)
    assert [(entry.name, entry.roles) for entry in entries] == [
        ("alice", ("ops", "viewer")),
        ("bob/../x", ()),
    ]
    for person, entry in zip([ALICE, BOB], entries, strict=True):
        settings = resolve({"config": str(files.spinc_config), "context": person.name}, {})
        assert token_digest(settings.credential.token) == entry.digests[0]
        assert settings.credential.addresses == frozenset({"127.0.0.1:1", "127.0.0.1:2"})


def test_only_the_own_account_can_read_the_files(tmp_path: Path) -> None:
    write_people(tmp_path, [ALICE, BOB], "127.0.0.1:1", "127.0.0.1:2")

    directory = tmp_path / "people"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in directory.iterdir()} == {0o600}


def test_each_start_makes_other_tokens_and_leaves_out_earlier_people(tmp_path: Path) -> None:
    files = write_people(tmp_path, [ALICE, BOB], "127.0.0.1:1", "127.0.0.1:2")
    assert files is not None
    before = files.token(ALICE).read_text()

    write_people(tmp_path, [ALICE], "127.0.0.1:1", "127.0.0.1:2")

    assert files.token(ALICE).read_text() != before
    assert not files.token(BOB).exists()
    assert list(yaml.safe_load(files.spinc_config.read_text())["contexts"]) == ["alice"]

    assert write_people(tmp_path, [], "127.0.0.1:1", "127.0.0.1:2") is None
    assert not files.directory.exists()


def test_other_files_in_the_directory_are_kept(tmp_path: Path) -> None:
    other = tmp_path / "people" / "photos"
    other.mkdir(parents=True)

    write_people(tmp_path, [ALICE], "127.0.0.1:1", "127.0.0.1:2")
    write_people(tmp_path, [], "127.0.0.1:1", "127.0.0.1:2")

    assert list((tmp_path / "people").iterdir()) == [other]


def test_a_directory_that_cannot_be_written_is_reported_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"cannot write .*/missing/people: No such file"):
        write_people(tmp_path / "missing", [ALICE], "127.0.0.1:1", "127.0.0.1:2")
