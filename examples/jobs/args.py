"""A base for jobs whose arguments are texts."""

from __future__ import annotations

import json
import re
from typing import ClassVar

from spincycle.job import ArgNotSet, Job, JobError, Value, WrongArgType

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


class BadName(JobError):
    """A host name that could not be the name of a directory."""


def text(args: dict[str, Value], name: str) -> str:
    """An argument that must be there and be a text."""
    if name not in args:
        raise ArgNotSet(name)
    value = args[name]
    if not isinstance(value, str):
        raise WrongArgType(name, type(value).__name__, "str")
    return value


def host_name(value: str) -> str:
    """A host's name, checked: it becomes part of a path."""
    if not _NAME.fullmatch(value):
        raise BadName(f'"{value}" is no host name: use a–z, 0–9 and -, at most 31 of them')
    return value


class TextArgsJob(Job):
    """A job that takes the arguments that `needs` names, and carries them to the runner."""

    needs: ClassVar[tuple[str, ...]]

    def __init__(self) -> None:
        self.args: dict[str, str] = {}

    def create(self, args: dict[str, Value]) -> None:
        """Read the arguments."""
        self.args = {name: text(args, name) for name in self.needs}
        if "host" in self.args:
            host_name(self.args["host"])

    def serialize(self) -> bytes:
        """The arguments as JSON."""
        return json.dumps(self.args).encode()

    def deserialize(self, data: bytes) -> None:
        """Read them back."""
        self.args = json.loads(data)
