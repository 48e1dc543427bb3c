"""Values of arguments between the command line, which knows text, and the wire."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from spincycle.cli.render.text import quote
from spincycle.model.job_chain import Value

if TYPE_CHECKING:
    from google.protobuf import struct_pb2

    from spincycle.v1 import request_pb2

SECRET = "***"  # noqa: S105 # what stands in place of a secret
"""What is shown for an argument that is secret."""


def plain(value: struct_pb2.Value) -> Value:
    """A wire value as Python has it; whole numbers become int."""
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "list_value":
        return [plain(item) for item in value.list_value.values]
    if kind == "struct_value":
        return {name: plain(item) for name, item in value.struct_value.fields.items()}
    if kind == "string_value":
        return value.string_value
    return value.bool_value if kind == "bool_value" else None


def shown(value: Value) -> str:
    """A value as text: strings as they are, everything else as JSON without blanks."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def arg_text(arg: request_pb2.RequestArg) -> str:
    """The argument as `name=value`, quoted so that it can be pasted into a command."""
    value = SECRET if arg.secret else shown(plain(arg.value))
    return f"{arg.name}={quote(value)}"


def args_text(args: Iterable[request_pb2.RequestArg], types: frozenset[str]) -> str:
    """The arguments of the given types, separated by blanks."""
    return " ".join(arg_text(arg) for arg in args if arg.kind in types)
