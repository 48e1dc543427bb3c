from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from spincycle.dev.console import Console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(5, "Input/output error")


def test_lines_are_prefixed_with_their_service() -> None:
    stream = io.StringIO()

    Console(stream).write_line("job-log", "listening")

    assert stream.getvalue() == "job-log         │ listening\n"


def test_a_terminal_gets_colours_unless_no_color_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured, plain = Terminal(), Terminal()

    Console(coloured).write_line("job-runner-2", "x")
    monkeypatch.setenv("NO_COLOR", "1")
    Console(plain).write_line("job-runner-2", "x")

    assert coloured.getvalue() == "\x1b[33mjob-runner-2    │\x1b[0m x\n"
    assert plain.getvalue() == "job-runner-2    │ x\n"


def test_a_service_cannot_send_commands_to_the_terminal() -> None:
    stream = io.StringIO()

    Console(stream).write_line("gateway", "\x1b[31mred\x1b[0m\x07 \x1b]0;title\x07")

    assert "\x1b" not in stream.getvalue()
    assert "\x07" not in stream.getvalue()


def test_a_closed_terminal_is_reported_once_and_is_not_an_error() -> None:
    closed: list[str] = []
    console = Console(Gone())
    console.on_closed(lambda: closed.append("gone"))

    console.write("one")
    console.write_line("gateway", "two")

    assert closed == ["gone"]


def test_a_process_with_a_closed_output_keeps_its_exit_code() -> None:
    script = (
        "import sys; from spincycle.dev.console import Console; console = Console();"
        "console.write('one'); sys.stdin.read(); console.write('two'); console.write('three')"
    )
    environment = {name: os.environ[name] for name in os.environ if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        process.stdin.close()

        assert process.wait() == 0
