"""Converts argument values between the wire and text."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from spincycle.cli.render.text import quote
from spincycle.model.job_chain import Value

if TYPE_CHECKING:
    from google.protobuf import struct_pb2

    from spincycle.v1 import request_pb2

SECRET = "***"  # noqa: S105 # a mask
"""Printed in place of a secret value."""


def plain(value: struct_pb2.Value) -> Value:
    """Return a wire value as a Python value; whole numbers become int."""
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
    """Return a value as text: strings unchanged, everything else as compact JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def arg_text(arg: request_pb2.RequestArg) -> str:
    """Return the argument as `name=value`, quoted for a shell; secrets are masked."""
    value = SECRET if arg.secret else shown(plain(arg.value))
    return f"{arg.name}={quote(value)}"


def args_text(args: Iterable[request_pb2.RequestArg], types: frozenset[str]) -> str:
    """Return the arguments of the given types, separated by blanks."""
    return " ".join(arg_text(arg) for arg in args if arg.kind in types)
