"""Values of arguments that are read from files and from standard input."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Self

from spincycle.cli.problem import Problem

if TYPE_CHECKING:
    from typing import BinaryIO, TextIO

READS = "-"
"""The value in place of which standard input is read."""

FILE = "@"
"""Prefix of the name of a file; doubled, it stands for itself at the beginning of a value."""

MAX_BYTES = 4 * 1024 * 1024
"""Maximum bytes of a value: those of a request."""


class ReadText(str):
    """A value that was read.

    Attributes:
        source: how it was given: `@file` or `-`.
    """

    __slots__ = ("source",)

    source: str

    def __new__(cls, text: str, source: str) -> Self:
        """Return `text` with its source."""
        value = super().__new__(cls, text)
        value.source = source
        return value


class GivenTexts:
    """Reads the values of one command; standard input at most once."""

    def __init__(
        self,
        stdin: TextIO | None = None,
        read_secret: Callable[[str], str] | None = None,
    ) -> None:
        self._stdin = stdin
        self._read_secret = read_secret
        self._stdin_for = ""

    def value(self, name: str, text: str) -> str:
        """Return the value of argument `name`, given as `text`.

        `@file` is the content of a file and `-` that of standard input, without one newline at the
        end; `@@text` is the text after the first `@`. On a terminal, `-` prompts without an echo.

        Raises:
            Problem: the file or the standard input cannot be read, is not UTF-8 text or is larger
                than a request may be, or standard input is given twice.
        """
        if text == READS:
            return self._read_stdin(name)
        if not text.startswith(FILE):
            return text
        if text.startswith(FILE + FILE):
            return text.removeprefix(FILE)
        path = text.removeprefix(FILE)
        try:
            with Path(path).expanduser().open("rb") as file:
                return ReadText(_decoded(name, file, path), text)
        except (OSError, ValueError) as error:
            cause = error.strerror if isinstance(error, OSError) else error
            raise Problem(
                f"cannot read request arg {name} from {path or 'a file without a name'}: {cause}",
                f"write {name}=@@… for a value that begins with @",
            )

    def _read_stdin(self, name: str) -> str:
        if self._stdin_for:
            raise Problem(
                f"request args {self._stdin_for} and {name} both read standard input",
                f"read one of them from a file: {name}=@<file>",
            )
        self._stdin_for = name
        stdin = self._stdin or sys.stdin
        if not stdin.isatty():
            return ReadText(_decoded(name, stdin.buffer, "standard input"), READS)
        from getpass import getpass

        try:
            return ReadText((self._read_secret or getpass)(f"{name}="), READS)
        except EOFError:
            raise Problem("the input ended; nothing was started")


def _decoded(name: str, file: BinaryIO, source: str) -> str:
    content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise Problem(
            f"request arg {name}: {source} is larger than {MAX_BYTES} bytes",
            "pass the name of the file, and let the job read it",
        )
    try:
        text = content.decode()
    except UnicodeDecodeError:
        raise Problem(
            f"request arg {name}: {source} is not UTF-8 text", "encode it, for example as base64"
        )
    return text.removesuffix("\r\n" if text.endswith("\r\n") else "\n")


def escaped(text: str) -> str:
    """Return a value as it is written after `name=`."""
    return FILE + text if text.startswith(FILE) else text
