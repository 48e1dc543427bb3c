"""Tokens of a file are accepted until the file no longer has them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from tests.waiting import until

from spincycle.access import token_file
from spincycle.access.authentication import Authentication
from spincycle.access.caller import Caller
from spincycle.access.credentials import Credentials
from spincycle.access.token_file import TokenFile, add_token, parse_token_file, token_digest
from spincycle.admin.main import main
from spincycle.errors import NotAuthenticated
from spincycle.runtime.config import ConfigError

ALICE = token_digest("alice's token")
BOB = token_digest("bob's token")


def bearer(token: str) -> Credentials:
    return Credentials({"authorization": [f"Bearer {token}"]})


def write(file: Path, contents: str) -> None:
    """Write a file in one step, so that no half of it is read."""
    part = file.with_suffix(".part")
    part.write_text(contents)
    part.replace(file)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.yaml"
    path.write_text(f"alice: {{roles: [ops, dev], sha256: {ALICE}}}\n")
    return path


async def test_a_token_of_the_file_is_accepted(file: Path) -> None:
    caller = await TokenFile(file).authenticate(bearer("alice's token"))

    assert caller == Caller("alice", ("ops", "dev"), "token-file")


@pytest.mark.parametrize("token", ["alice's toke", "", "alice's token2", ALICE, "\udcff"])
async def test_another_token_is_not_recognised(file: Path, token: str) -> None:
    assert await TokenFile(file).authenticate(bearer(token)) is None


async def test_a_caller_may_have_two_tokens_while_one_is_replaced(file: Path) -> None:
    write(file, f"alice: {{roles: [ops], sha256: [{ALICE}, {BOB}]}}\n")
    tokens = TokenFile(file)

    assert await tokens.authenticate(bearer("bob's token"))
    assert await tokens.authenticate(bearer("alice's token"))


@pytest.mark.parametrize(
    ("contents", "problem"),
    [
        ("alice: {", ":1: not valid YAML"),
        ("- alice\n", ":1: not a mapping"),
        ("\nalice: ops\n", ":2: not a mapping"),
        ("alice: {roles: [ops]}\n", ':1: "alice" has no sha256'),
        (f"alice: {{sha256: {ALICE.upper()}}}\n", ":1: a sha256 of"),
        ("alice: {sha256: secret}\n", ":1: a sha256 of"),
        (f"alice: {{sha256: {ALICE}, role: ops}}\n", 'unknown key "role"'),
        (f"alice: {{sha256: {ALICE}}}\nalice: {{sha256: {BOB}}}\n", ':2: "alice" occurs twice'),
        (f"alice: {{sha256: {ALICE}}}\nbob: {{sha256: {ALICE}}}\n", ':2: "bob" has the token of'),
        (f'"": {{sha256: {ALICE}}}\n', ":1: the name is empty"),
        (f'"a\\0": {{sha256: {ALICE}}}\n', ":1: the name has characters"),
        (f"alice: {{sha256: {ALICE}, roles: [[ops]]}}\n", ":1: not a text"),
        (f"alice: {{sha256: {ALICE}, roles: ['']}}\n", "the role is empty"),
        (f"? [a]\n: {{sha256: {ALICE}}}\n", ":1: a key is not a text"),
        ("a: &a [*a]\n", ":1: "),
    ],
)
def test_an_invalid_file_prevents_the_start_and_is_named_with_its_line(
    file: Path, contents: str, problem: str
) -> None:
    file.write_text(contents)

    with pytest.raises(ConfigError) as raised:
        TokenFile(file)

    assert str(raised.value).startswith(str(file))
    assert problem in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_missing_file_prevents_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the tokens"):
        TokenFile(tmp_path / "missing")


@given(st.binary(max_size=200))
def test_any_contents_are_entries_or_a_configuration_error(contents: bytes) -> None:
    try:
        parse_token_file(contents, Path("tokens"))
    except ConfigError as error:
        assert str(error).startswith("tokens:")  # noqa: PT017 # both outcomes are allowed


async def test_a_token_that_is_removed_is_refused_without_a_restart(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_file, "CHECK_INTERVAL", 0.01)
    authentication = Authentication([TokenFile(file)])
    assert (await authentication.authenticate(bearer("alice's token"))).name == "alice"
    watching = asyncio.create_task(authentication.watch())

    write(file, f"bob: {{sha256: {BOB}}}\n")

    async def is_refused() -> bool:
        try:
            await authentication.authenticate(bearer("alice's token"))
        except NotAuthenticated:
            return True
        return False

    await until(is_refused)
    assert (await authentication.authenticate(bearer("bob's token"))).name == "bob"
    assert authentication.outcomes["token-file", "accepted"] >= 2
    watching.cancel()


async def test_a_file_that_becomes_invalid_keeps_its_tokens_and_is_reported_once(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(token_file, "CHECK_INTERVAL", 0.001)
    tokens = TokenFile(file)
    changes: list[None] = []

    async def changed() -> None:
        changes.append(None)

    with capture_logs() as logs:
        watching = asyncio.create_task(tokens.watch(changed))
        write(file, "alice: {")
        await until(lambda: logs)
        await asyncio.sleep(0.02)  # Further checks of the same contents.
        assert await tokens.authenticate(bearer("alice's token"))
        write(file, f"bob: {{sha256: {BOB}}}\n")
        await until(lambda: changes)
        watching.cancel()

    assert [log["event"] for log in logs] == ["tokens not reloaded", "tokens reloaded"]


async def test_the_command_adds_a_token_and_prints_it_once(tmp_path: Path) -> None:
    path = tmp_path / "tokens.yaml"

    alice = CliRunner().invoke(main, ["tokens", "new", "alice", str(path), "--roles", "ops,dev"])
    again = CliRunner().invoke(main, ["tokens", "new", "alice", str(path)])
    bob = CliRunner().invoke(main, ["tokens", "new", "bob", str(path)])

    assert path.stat().st_mode & 0o777 == 0o600
    assert alice.output.strip() not in path.read_text()
    assert (again.exit_code, bob.exit_code) == (2, 0)
    assert f'error: {path}:1: "alice" has a token already' in again.output
    tokens = TokenFile(path)
    assert await tokens.authenticate(bearer(alice.output.strip())) == Caller(
        "alice", ("ops", "dev"), "token-file"
    )
    assert await tokens.authenticate(bearer(bob.output.strip()))


@pytest.mark.parametrize("words", [["\n"], ["alice", "--roles", "a\0"], ["x" * 257]])
def test_the_command_refuses_names_that_nobody_can_read(tmp_path: Path, words: list[str]) -> None:
    path = tmp_path / "tokens.yaml"

    result = CliRunner().invoke(main, ["tokens", "new", *words, str(path)])

    assert result.exit_code == 2
    assert result.output.startswith("error: the ")
    assert not path.exists()


def test_comments_and_permissions_of_a_file_are_kept(file: Path) -> None:
    file.write_text("# Of the platform team\n" + file.read_text().rstrip())
    file.chmod(0o640)

    add_token(file, "123", ["yes"], "token")

    assert file.stat().st_mode & 0o777 == 0o640
    assert file.read_text().startswith("# Of the platform team\nalice: ")
    assert set(yaml.safe_load(file.read_text())) == {"alice", "123"}
