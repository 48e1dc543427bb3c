from __future__ import annotations

import io
from pathlib import Path

import pytest
from tests.cli_samples import spec_arg

from spincycle.cli.history import ValueHistory
from spincycle.cli.problem import Problem
from spincycle.cli.prompt import Prompt
from spincycle.cli.render.terminal import Terminal


class Person:
    """Enters prepared lines and records the prompts."""

    def __init__(self, *lines: str) -> None:
        self._lines = list(lines)
        self._seen = io.StringIO()

    def read(self, prompt: str) -> str:
        self._seen.write(prompt)
        if not self._lines:
            raise EOFError
        line = self._lines.pop(0)
        self._seen.write(line + "\n")
        return line

    @property
    def seen(self) -> str:
        return self._seen.getvalue()

    def prompt(self) -> Prompt:
        return Prompt(Terminal(out=self._seen), self.read, self.read)


def test_a_required_value_is_prompted_for_until_it_is_entered() -> None:
    person = Person("", " zed ")

    assert person.prompt().value(spec_arg("name", "Who to greet")) == "zed"
    assert person.seen == "\n# Who to greet\nname=\n# Value required for name\nname= zed \n"


@pytest.mark.parametrize("kind", ["int", "bool", "duration"])
def test_the_error_of_a_secret_value_does_not_repeat_it(kind: str) -> None:
    arg = spec_arg("pin", "", secret=True)
    arg.value_type = kind
    terminal = io.StringIO()
    lines = iter(["hunter2"])

    with pytest.raises(StopIteration):
        Prompt(Terminal(out=terminal), input, lambda _: next(lines)).value(arg)

    assert "the value is n" in terminal.getvalue()
    assert "hunter2" not in terminal.getvalue()


def test_an_empty_line_takes_the_default() -> None:
    person = Person("")

    assert person.prompt().value(spec_arg("greeting", "Word to greet with", "hello")) == "hello"
    assert person.seen == ("\n# Word to greet with (default: hello)\ngreeting=\ngreeting=hello\n")


def test_a_value_of_the_wrong_type_is_prompted_for_a_second_time() -> None:
    person = Person("many", "3")

    assert person.prompt().value(spec_arg("n", "How many", "1", value_type="int")) == "3"
    assert "# How many (int) (default: 1)" in person.seen
    assert "# many is not a whole number" in person.seen


def test_only_ok_confirms() -> None:
    person = Person("yes", "OK", "ok")

    person.prompt().confirm()

    assert person.seen.count("Enter 'ok' to start, or ctrl-c to abort: ") == 3


def test_the_end_of_the_input_ends_the_prompts() -> None:
    with pytest.raises(Problem, match="the input ended"):
        Person().prompt().value(spec_arg("name", "Who"))
    with pytest.raises(Problem, match="nothing was started"):
        Person("no").prompt().confirm()


def test_earlier_values_are_offered_newest_first(tmp_path: Path) -> None:
    path = tmp_path / "state" / "values.json"
    ValueHistory(path).add("greet", {"name": "ann"})
    ValueHistory(path).add("wave", {"name": "cem"})
    ValueHistory(path).add("greet", {"name": "bob"})

    assert ValueHistory(path).of("greet", "name") == ["bob", "ann", "cem"]
    assert path.stat().st_mode & 0o077 == 0


def test_an_unreadable_history_counts_as_empty(tmp_path: Path) -> None:
    path = tmp_path / "values.json"
    path.write_text("{[")

    assert ValueHistory(path).of("greet", "name") == []
