"""Free-form values (job arguments, job data) on the wire: Struct and Value, both ways.

Struct has one kind of number, the double. Whole numbers up to LARGEST_INT come back as int, others
as float; an int that no double equals is refused rather than sent as its neighbour.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from google.protobuf import struct_pb2

from spincycle.model.job_chain import LARGEST_INT, VALUE_DEPTH, Value

if TYPE_CHECKING:
    from google.protobuf.internal.containers import MessageMap


def to_struct(values: Mapping[str, Value]) -> struct_pb2.Struct:
    """The values as a Struct.

    Raises:
        ValueError: a value is nothing that JSON knows, nests too deeply, or is a number that
            does not fit a double; the message begins with its path.
    """
    struct = struct_pb2.Struct()
    fill_struct(struct, values)
    return struct


def fill_struct(struct: struct_pb2.Struct, values: Mapping[str, Value]) -> None:
    """Put the values into a Struct that is part of a message, which is then set in any case.

    Raises:
        ValueError: as `to_struct`.
    """
    if not values:
        struct.SetInParent()
        return
    try:
        _fill(struct.fields, values, VALUE_DEPTH)
    except _Unfit as unfit:
        raise ValueError(f"{unfit.path}: {unfit.problem}")


def from_struct(struct: struct_pb2.Struct) -> dict[str, Value]:
    """The values in a Struct."""
    return {key: from_value(value) for key, value in struct.fields.items()}


def holds_more(struct: struct_pb2.Struct, most: int) -> bool:
    """Whether a Struct holds more than `most` values, those of inner lists and objects included."""
    found = len(struct.fields)
    waiting = list(struct.fields.values()) if found <= most else []
    while waiting and found <= most:
        value = waiting.pop()
        kind = value.WhichOneof("kind")
        if kind == "list_value":
            found += len(value.list_value.values)
            if found <= most:
                waiting.extend(value.list_value.values)
        elif kind == "struct_value":
            found += len(value.struct_value.fields)
            if found <= most:
                waiting.extend(value.struct_value.fields.values())
    return found > most


def to_value(plain: Value) -> struct_pb2.Value:
    """One value as a Value.

    Raises:
        ValueError: as `to_struct`.
    """
    value = struct_pb2.Value()
    try:
        _put(value, plain, VALUE_DEPTH)
    except _Unfit as unfit:
        raise ValueError(f"{unfit.path}: {unfit.problem}" if unfit.path else unfit.problem)
    return value


def from_value(value: struct_pb2.Value) -> Value:
    """The plain value in a Value; None if it holds nothing."""
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return value.string_value
    if kind == "number_value":
        number = value.number_value
        if number.is_integer() and -LARGEST_INT <= number <= LARGEST_INT:
            return int(number)
        return number
    if kind == "bool_value":
        return value.bool_value
    if kind == "struct_value":
        return from_struct(value.struct_value)
    if kind == "list_value":
        return [from_value(item) for item in value.list_value.values]
    return None


class _Unfit(Exception):
    """A value that does not fit; the path grows while the exception rises."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        self.path = ""

    def within(self, step: str) -> _Unfit:
        inner = self.path
        self.path = step + (inner if inner.startswith("[") or not inner else f".{inner}")
        return self


def _fill(
    fields: MessageMap[str, struct_pb2.Value], values: Mapping[str, Value], depth: int
) -> None:
    for key, plain in values.items():
        if not isinstance(key, str):
            raise _Unfit(f"a name must be text, not {type(key).__name__}").within(str(key))
        try:
            _put(fields[key], plain, depth)
        except UnicodeEncodeError:
            raise _Unfit("a name that is not valid Unicode").within(ascii(key))
        except _Unfit as unfit:
            raise unfit.within(key)


def _put(value: struct_pb2.Value, plain: Value, depth: int) -> None:
    if isinstance(plain, str):
        try:
            value.string_value = plain
        except UnicodeEncodeError:
            raise _Unfit("text that is not valid Unicode")
    elif isinstance(plain, bool):
        value.bool_value = plain
    elif plain is None:
        value.null_value = struct_pb2.NULL_VALUE
    elif isinstance(plain, int | float):
        _put_number(value, plain)
    elif depth == 0:
        raise _Unfit(f"nests more than {VALUE_DEPTH} levels deep")
    elif isinstance(plain, list | tuple):
        items = value.list_value
        items.SetInParent()
        for place, item in enumerate(plain):
            try:
                _put(items.values.add(), item, depth - 1)
            except _Unfit as unfit:
                raise unfit.within(f"[{place}]")
    elif isinstance(plain, Mapping):
        fields = value.struct_value
        fields.SetInParent()
        _fill(fields.fields, plain, depth - 1)
    else:
        raise _Unfit(
            f"{type(plain).__name__} is not a value; use text, numbers, booleans, None, lists "
            "and objects of them"
        )


def _put_number(value: struct_pb2.Value, plain: float) -> None:
    try:
        number = float(plain)
    except OverflowError:
        raise _Unfit("a whole number too large to be kept; pass it as text")
    if not math.isfinite(number):
        raise _Unfit(f"{plain} is not a number that JSON knows")
    if number != plain:
        raise _Unfit("a number that cannot be kept to the last digit; pass it as text")
    value.number_value = number


def has_more_values(value: Value, most: int) -> bool:
    """Whether a value has more than so many values in it."""
    found = 0
    waiting = [value] if isinstance(value, dict | list) else []
    while waiting:
        outer = waiting.pop()
        inner = outer.values() if isinstance(outer, dict) else outer
        found += len(inner)
        if found > most:
            return True
        waiting.extend(each for each in inner if isinstance(each, dict | list))
    return False
