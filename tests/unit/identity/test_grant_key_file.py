from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from tests.waiting import until

from spincycle.identity import key_file
from spincycle.identity.grant_key_file import GrantKeyFile, open_grant_keys
from spincycle.runtime.config import ConfigError

RUNNER = "spiffe://spincycle/spincycle/job-runner/1"
FIRST, SECOND = f"1 {'0a' * 32}\n", f"2 {'0B' * 32}\n"


def keys_in(file: Path, contents: str) -> Path:
    part = file.with_suffix(".part")
    part.write_text(contents)
    part.chmod(0o600)
    return part.replace(file)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "grant-keys"


@asynccontextmanager
async def watching(file: GrantKeyFile) -> AsyncIterator[None]:
    watch = asyncio.create_task(file.watch())
    try:
        yield
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)


def test_the_first_line_signs_and_all_lines_verify(path: Path) -> None:
    both = GrantKeyFile(keys_in(path, f"# of 2026\n\n{FIRST}{SECOND}")).keys
    second = GrantKeyFile(keys_in(path, SECOND)).keys

    assert both.grant("r", 1, RUNNER).key_id == "1"
    assert not both.verify(second.grant("r", 1, RUNNER), RUNNER)


@pytest.mark.parametrize(
    ("contents", "problem"),
    [
        ("", "no grant key; make a file"),
        ("# none\n", "no grant key; make a file"),
        (f"{FIRST}2 {'0a' * 31}\n", ":2: not a grant key; a line has"),
        (f"{FIRST}2 {'0g' * 32}\n", ":2: not a grant key; a line has"),
        ("0a" * 32, ":1: not a grant key; a line has"),
        (f"{FIRST}{FIRST}", ':2: another key has the id "1"; give each'),
        ("#" * 70_000, "larger than 65536 bytes"),
    ],
)
def test_a_file_that_is_invalid_is_refused_without_showing_a_key(
    path: Path, contents: str, problem: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        GrantKeyFile(keys_in(path, contents))

    assert problem in str(refused.value)
    assert "0a0a" not in str(refused.value)


def test_a_file_that_is_missing_is_refused_with_the_command_that_makes_one(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"No such file.*spincycle grant-keys new"):
        GrantKeyFile(path)


@pytest.mark.parametrize(("mode", "warnings"), [(0o600, 0), (0o640, 0), (0o644, 1), (0o602, 1)])
def test_a_file_that_all_accounts_can_access_is_warned_about(
    path: Path, mode: int, warnings: int
) -> None:
    keys_in(path, FIRST).chmod(mode)

    with capture_logs() as logs:
        GrantKeyFile(path)

    assert len(logs) == warnings


async def test_a_changed_file_is_read_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_file, "CHECK_INTERVAL", 0.001)
    file = GrantKeyFile(keys_in(path, FIRST))

    async with watching(file):
        keys_in(path, SECOND + FIRST)
        await until(lambda: file.keys.grant("r", 1, RUNNER).key_id == "2")


async def test_the_keys_are_kept_while_the_file_is_invalid_or_missing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_file, "CHECK_INTERVAL", 0.001)
    file = GrantKeyFile(keys_in(path, FIRST))

    with capture_logs() as logs:
        async with watching(file):
            keys_in(path, "nonsense")
            await until(lambda: len(logs) == 1)
            path.unlink()  # noqa: ASYNC240 # a small file
            await until(lambda: len(logs) == 2)
            assert file.keys.grant("r", 1, RUNNER).key_id == "1"
            keys_in(path, SECOND)
            await until(lambda: file.keys.grant("r", 1, RUNNER).key_id == "2")

    assert [log["event"] for log in logs] == [
        "grant keys not reloaded",
        "grant keys not reloaded",
        "grant keys reloaded",
    ]


def test_the_setting_is_required_only_where_callers_are_identified(path: Path) -> None:
    assert open_grant_keys(None, required=False) is None
    assert open_grant_keys(keys_in(path, FIRST), required=False) is not None
    with pytest.raises(ConfigError, match=r"append_grant_keys: not set.*grant-keys new FILE"):
        open_grant_keys(None, required=True)
