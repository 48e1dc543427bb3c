from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest
from tests.not_run import not_run

from spincycle.dev.errors import StackError
from spincycle.dev.home import StackHome
from spincycle.dev.sockets import LINK, SocketDirectory, _is_safe


def test_the_path_is_short_and_closed_to_others_for_any_data_directory(tmp_path: Path) -> None:
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


@pytest.mark.parametrize("mode", [0o700, 0o777, 0o1777])
def test_no_other_account_can_rename_the_directory(tmp_path: Path, mode: int) -> None:
    parent = tmp_path / "p"
    parent.mkdir()
    parent.chmod(mode)

    assert _is_safe(parent) is (mode != 0o777)


def test_the_directory_is_not_in_one_of_another_account(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        not_run("chown", "only root can give a directory to another account")
    parent = tmp_path / "p"
    parent.mkdir()
    os.chown(parent, 65534, 65534)

    assert not _is_safe(parent)
    (parent / "inner").mkdir()
    assert not _is_safe(parent / "inner")


def test_a_copy_of_a_data_directory_leaves_the_sockets_of_the_original_alone(
    tmp_path: Path,
) -> None:
    original, copy = tmp_path / "original", tmp_path / "copy"
    original.mkdir()
    made = SocketDirectory(original)
    shutil.copytree(original, copy, symlinks=True)

    SocketDirectory(copy).remove()

    assert made.path.is_dir()
    made.remove()


def test_without_a_short_writable_directory_the_error_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spincycle.dev.sockets._LONGEST", 3)

    with pytest.raises(StackError, match="none of /tmp, /var/tmp and TMPDIR"):
        SocketDirectory(tmp_path)


def test_the_directory_of_a_killed_stack_is_removed_by_the_next_one(tmp_path: Path) -> None:
    left = SocketDirectory(tmp_path)
    (left.path / "job-log").touch()

    second = SocketDirectory(tmp_path)

    assert not left.path.exists()
    assert [path.name for path in second.path.iterdir()] == ["owner"]
    second.remove()


def test_a_foreign_link_is_removed_but_not_its_target(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (tmp_path / LINK).symlink_to(precious)

    SocketDirectory(tmp_path).remove()

    assert precious.is_dir()


async def test_the_directory_is_removed_when_the_stack_releases_its_home(tmp_path: Path) -> None:
    home = StackHome(tmp_path / "home")
    await home.acquire()
    sockets = home.sockets
    assert sockets.is_dir()

    await home.release()

    assert not sockets.exists()
