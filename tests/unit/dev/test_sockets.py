from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from spincycle.dev.errors import StackError
from spincycle.dev.home import StackHome
from spincycle.dev.sockets import LINK, SocketDirectory


@pytest.fixture(autouse=True)
def runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)


def test_it_is_short_and_closed_to_others_wherever_the_data_directory_lies(tmp_path: Path) -> None:
    home = tmp_path / ("deep" * 40)
    home.mkdir()

    made = SocketDirectory(home)

    assert stat.S_IMODE(made.path.stat().st_mode) == 0o700
    assert made.path.stat().st_uid == os.geteuid()
    assert len(str(made.path)) < 80
    assert (home / LINK).readlink() == made.path
    made.remove()
    assert not made.path.exists()
    assert not (home / LINK).is_symlink()
    made.remove()


def test_it_lies_in_the_runtime_directory_of_the_account_if_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = tmp_path / "r"
    runtime.mkdir()
    monkeypatch.setattr("spincycle.dev.sockets._LONGEST", 200)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))

    made = SocketDirectory(tmp_path)

    assert made.path.parent == runtime
    made.remove()


def test_without_a_short_directory_that_can_be_written_to_the_stack_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spincycle.dev.sockets._LONGEST", 3)

    with pytest.raises(StackError, match="neither XDG_RUNTIME_DIR nor /tmp nor TMPDIR"):
        SocketDirectory(tmp_path)


def test_what_a_killed_stack_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    left = SocketDirectory(tmp_path)
    (left.path / "job-log").touch()

    again = SocketDirectory(tmp_path)

    assert not left.path.exists()
    assert list(again.path.iterdir()) == []
    again.remove()


def test_a_link_to_somewhere_else_is_removed_and_what_it_names_is_not(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (tmp_path / LINK).symlink_to(precious)

    SocketDirectory(tmp_path).remove()

    assert precious.is_dir()


async def test_it_is_gone_when_the_stack_has_left_its_data_directory(tmp_path: Path) -> None:
    home = StackHome(tmp_path / "home")
    await home.take()
    sockets = home.sockets
    assert sockets.is_dir()

    await home.leave()

    assert not sockets.exists()
