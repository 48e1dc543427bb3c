"""Prompts for argument values and for confirmation at the terminal."""

from __future__ import annotations

import getpass
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from spincycle.cli.problem import Problem
from spincycle.cli.values import plain, shown
from spincycle.model.duration import parse_duration

if TYPE_CHECKING:
    from spincycle.cli.render.terminal import Terminal
    from spincycle.v1 import request_pb2

CONFIRM = "Enter 'ok' to start, or ctrl-c to abort: "

_INTEGER = re.compile(r"[+-]?\d+")


class Prompt:
    """Prompts the user; Tab and ↑ offer earlier values."""

    def __init__(
        self,
        terminal: Terminal,
        read: Callable[[str], str] = input,
        read_secret: Callable[[str], str] = getpass.getpass,
    ) -> None:
        self._terminal = terminal
        self._read = read
        self._read_secret = read_secret

    def value(self, arg: request_pb2.RequestArg, earlier: Sequence[str] = ()) -> str:
        """Prompt for an argument and return its value; an empty line takes the default.

        Raises:
            Problem: the input ended.
        """
        required = arg.kind == "required"
        default = "" if required else shown(plain(arg.default_value))
        hints = "".join(
            [
                f" ({arg.value_type})" if arg.value_type not in {"", "string"} else "",
                f" (default: {default})" if default else "",
            ]
        )
        self._terminal.line()
        self._terminal.line(f"# {arg.desc}{hints}")
        while True:
            text = self._read_line(f"{arg.name}=", earlier, secret=arg.secret)
            if not text and required:
                self._terminal.line(f"# Value required for {arg.name}")
            elif not text:
                if default:
                    self._terminal.line(f"{arg.name}={default}")
                return default
            elif error := _type_error(arg.value_type, text, secret=arg.secret):
                self._terminal.line(f"# {error}")
            else:
                return text

    def confirm(self) -> None:
        """Prompt until the user enters exactly `ok`.

        Raises:
            Problem: the input ended.
        """
        while self._read_line(CONFIRM) != "ok":
            continue

    def _read_line(self, prompt: str, earlier: Sequence[str] = (), *, secret: bool = False) -> str:
        self._terminal.out.flush()
        try:
            if secret:
                return self._read_secret(prompt).strip()
            offer(earlier)
            return self._read(prompt).strip()
        except EOFError:
            self._terminal.line()
            raise Problem("the input ended; nothing was started")


def _type_error(kind: str, text: str, *, secret: bool) -> str:
    """Return what is wrong with a value of a declared type; empty if it is valid.

    The value of a secret argument is not repeated.
    """
    name = "the value" if secret else text
    if kind == "int" and not _INTEGER.fullmatch(text):
        return f"{name} is not a whole number"
    if kind == "bool" and text.lower() not in {"true", "false"}:
        return f"{name} is neither true nor false"
    if kind == "duration":
        try:
            parse_duration(text)
        except ValueError as error:
            return "the value is not a duration such as 10s or 1h30m" if secret else str(error)
    return ""


def offer(values: Sequence[str]) -> None:
    """Offer these values in the next prompt: completion with Tab, history with ↑."""
    try:
        import readline
    except ImportError:
        return

    def complete(text: str, state: int) -> str | None:
        matching = [value for value in values if value.startswith(text)]
        return matching[state] if state < len(matching) else None

    readline.set_completer(complete)
    readline.set_completer_delims("")
    readline.parse_and_bind("tab: complete")
    readline.set_auto_history(False)
    readline.clear_history()
    for value in reversed(values):
        readline.add_history(value)
