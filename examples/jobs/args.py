"""Base class of jobs whose arguments are strings."""

from __future__ import annotations

import json
import re
from typing import ClassVar

from spincycle.job import ArgNotSet, Job, JobError, Value, WrongArgType

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


class BadName(JobError):
    """A host name is not valid as the name of a directory."""


def text(args: dict[str, Value], name: str) -> str:
    """Return a required argument of type str.

    Raises:
        ArgNotSet, WrongArgType: it is missing or has another type.
    """
    if name not in args:
        raise ArgNotSet(name)
    value = args[name]
    if not isinstance(value, str):
        raise WrongArgType(name, type(value).__name__, "str")
    return value


def host_name(value: str) -> str:
    """Return a valid host name, which becomes part of a path.

    Raises:
        BadName: it is not valid.
    """
    if not _NAME.fullmatch(value):
        raise BadName(f'"{value}" is not a valid host name: use at most 31 of a–z, 0–9 and -')
    return value


class TextArgsJob(Job):
    """Reads the arguments listed in `needs` and passes them to the runner."""

    needs: ClassVar[tuple[str, ...]]

    def __init__(self) -> None:
        self.args: dict[str, str] = {}

    def create(self, args: dict[str, Value]) -> None:
        """Read the arguments."""
        self.args = {name: text(args, name) for name in self.needs}
        if "host" in self.args:
            host_name(self.args["host"])

    def serialize(self) -> bytes:
        """Encode the arguments as JSON."""
        return json.dumps(self.args).encode()

    def deserialize(self, data: bytes) -> None:
        """Decode the arguments."""
        self.args = json.loads(data)
