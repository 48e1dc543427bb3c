"""Tab completion in bash, zsh and fish on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.cli_samples import ID
from tests.integration.cli.conftest import SPINC, Ran, Tty
from tests.integration.cli.creation import create_requests
from tests.integration.cli.fake_services import FakeServices
from tests.not_run import path_of

Spinc = Callable[..., Ran]

SHELLS = {
    "bash": (["--norc", "--noprofile", "-i"], 'eval "$(spinc completion bash)"'),
    "zsh": (["-f", "-i"], 'autoload -Uz compinit; compinit -u -D; eval "$(spinc completion zsh)"'),
    "fish": (["--no-config", "-i"], "spinc completion fish | source"),
}


@pytest.fixture(params=list(SHELLS))
def shell(request: pytest.FixtureRequest, environment: dict[str, str]) -> Iterator[Tty]:
    """An interactive shell with completion of spinc."""
    name = request.param
    program = path_of(name)
    args, setup = SHELLS[name]
    path = f"{Path(SPINC).parent}:{environment['PATH']}"
    at_terminal = Tty(args, environment | {"PATH": path, "PS1": "$ "}, (40, 120), program)
    at_terminal.type(f'{setup}; clear; echo rea""dy')
    at_terminal.show("ready")
    yield at_terminal
    at_terminal.child.close(force=True)


def typed(shell: Tty, keys: str, expected: str) -> None:
    """Type keys and wait until the shell has completed the line to `expected`."""
    shell.child.send(keys)
    shell.show(expected)


def test_names_of_requests_args_and_options_are_completed(
    services: FakeServices, shell: Tty
) -> None:
    typed(shell, "spinc start gre\t", "spinc start greet")
    typed(shell, "na\t", "spinc start greet name=")
    typed(shell, "zoe --ye\t", "spinc start greet name=zoe --yes")
    shell.child.send("\r")
    shell.show("OK, started greet request")

    assert dict(create_requests(services)[0].args) == {"name": "zoe"}


def test_ids_of_running_requests_are_completed(shell: Tty) -> None:
    typed(shell, f"spinc status {ID[:4]}\t", f"spinc status {ID}")
    shell.child.send("\r")
    shell.show("state: RUNNING")


def test_commands_are_completed(shell: Tty) -> None:
    shell.child.send("spinc re\t\t")
    shell.show("rerun")
    shell.show("resume")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("spinc sta", ["start", "status"]),
        ("spinc start gr", ["greet"]),
        ("spinc start greet na", ["name="]),
        ("spinc start greet name=@/us", ["name=@/usr/"]),
        ("spinc status dc2", [ID]),
        ("spinc find st", ["states="]),
        (f"spinc skip {ID} R0", ["R000", "R001"]),
        (f"spinc rerun {ID} --job D", ["D000", "D001"]),
        (f"spinc log {ID} re", ["report"]),
        (f"spinc log {ID} --job Re", ["Rept"]),
        (f"spinc explain {ID} E001", ["E001"]),
        ("spinc help gre", ["greet"]),
        ("spinc help sta", ["start", "status"]),
    ],
)
def test_the_shell_completes_commands_requests_args_and_ids(
    spinc: Spinc, words: str, offered: list[str]
) -> None:
    listed = words.split(" ")
    ran = spinc(_SPINC_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=str(len(listed) - 1))

    found = [line.split(",", 1)[1] for line in ran.out.splitlines()]
    assert set(offered) <= set(found)


def test_jobs_are_described_by_their_paths(spinc: Spinc) -> None:
    words = f"spinc skip {ID} D"
    ran = spinc(_SPINC_COMPLETE="zsh_complete", COMP_WORDS=words, COMP_CWORD="3")

    lines = ran.out.splitlines()
    assert list(zip(lines[1::3], lines[2::3], strict=True)) == [
        ("D000", "restart-host web1 / drain"),
        ("D001", "restart-host web2 / drain"),
    ]


def test_completion_is_silent_if_no_service_responds(spinc: Spinc) -> None:
    ran = spinc(
        SPINC_ADDR="127.0.0.1:1",
        _SPINC_COMPLETE="bash_complete",
        COMP_WORDS="spinc status ",
        COMP_CWORD="2",
    )

    assert (ran.out.strip(), ran.err) == ("", "")
