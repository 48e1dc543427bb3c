from __future__ import annotations

import os
from pathlib import Path

import pytest

from spincycle.dev.errors import AlreadyRunning, StackError
from spincycle.dev.home import StackHome, default_home


def become(monkeypatch: pytest.MonkeyPatch, uid: int, **environment: str) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    for name in ("HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


def test_the_default_directory_is_in_the_data_home_of_the_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    become(monkeypatch, 1000, HOME=str(tmp_path))
    assert default_home() == tmp_path / ".local" / "share" / "spincycle"

    become(monkeypatch, 1000, HOME=str(tmp_path), XDG_DATA_HOME="/data")
    assert default_home() == Path("/data/spincycle")


@pytest.mark.parametrize("home", ["", "{tmp}/missing", "relative"])
def test_a_user_without_a_home_has_a_default_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, home: str
) -> None:
    become(monkeypatch, 1000, HOME=home.format(tmp=tmp_path))

    assert default_home() == Path("/var/tmp/spincycle-1000")


def test_the_default_directory_of_root_is_accessible_to_other_accounts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    become(monkeypatch, 0, HOME="/root")

    assert default_home() == Path("/var/lib/spincycle")


async def test_the_error_of_a_taken_directory_names_its_holder(tmp_path: Path) -> None:
    first, second = StackHome(tmp_path / "home"), StackHome(tmp_path / "home")
    await first.acquire()
    first.write_note({"since": "noon"})

    with pytest.raises(AlreadyRunning) as refused:
        await second.acquire()

    assert refused.value.note == {"pid": str(os.getpid()), "since": "noon"}
    await first.release()
    await second.acquire()
    await second.release()


async def test_a_temporary_directory_is_deleted_and_a_given_one_is_kept(tmp_path: Path) -> None:
    temporary, kept = StackHome(None), StackHome(tmp_path / "kept")
    for home in (temporary, kept):
        await home.acquire()
        (home.path / "file").touch()
        await home.release()

    assert not temporary.path.exists()
    assert [path.name for path in kept.path.iterdir()] == ["file"]


async def test_a_directory_of_another_account_is_rejected(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    uid = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: uid + 1)

    with pytest.raises(StackError, match="belongs to another account"):
        await StackHome(tmp_path).acquire()
