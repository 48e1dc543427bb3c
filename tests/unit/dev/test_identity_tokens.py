from __future__ import annotations

from pathlib import Path

import pytest

from spincycle.dev.errors import StackError
from spincycle.dev.identity_tokens import (
    GRANT_KEYS,
    SEALING_KEYS,
    kept_sealing_keys,
    new_grant_keys,
)
from spincycle.identity.grant_key_file import read_grant_keys


def test_each_start_makes_other_grant_keys_that_only_the_own_account_can_read(
    tmp_path: Path,
) -> None:
    first = read_grant_keys(new_grant_keys(tmp_path))
    (tmp_path / GRANT_KEYS).chmod(0o644)
    file = new_grant_keys(tmp_path)

    assert read_grant_keys(file) != first
    assert file.stat().st_mode & 0o777 == 0o600


def test_sealing_keys_are_kept_for_later_starts_on_the_same_directory(tmp_path: Path) -> None:
    file = kept_sealing_keys(tmp_path)
    contents = file.read_bytes()

    assert kept_sealing_keys(tmp_path).read_bytes() == contents
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_directory_that_cannot_be_written_is_reported_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(StackError, match=f"cannot write {tmp_path}/missing/{SEALING_KEYS}: No"):
        kept_sealing_keys(tmp_path / "missing")
    with pytest.raises(StackError, match=f"cannot write {tmp_path}/missing/{GRANT_KEYS}: No such"):
        new_grant_keys(tmp_path / "missing")
