"""Texts in requests that PostgreSQL could not keep, refused before anything is done."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from spincycle.errors import InvalidInput

_ELSEWHERE = frozenset(
    {
        "google.protobuf.Struct",
        "google.protobuf.Value",
        "spincycle.v1.JobChain",
        "spincycle.v1.SpecFile",
    }
)
"""Free-form values, which are checked by name, and what is never kept as text."""

_Read = Callable[[Any], Iterable[tuple[str, str]]]


def check_texts(request: Message, raw: bytes) -> None:
    """Check that no text of a request holds the character NUL, which no column can keep.

    `raw` is the request as it came: most have no such byte, and are not walked through.

    Raises:
        InvalidInput: one does; its field is named by its path.
    """
    if b"\0" not in raw:
        return
    for path, text in _texts(request):
        if "\0" in text:
            raise InvalidInput(f"{path} holds the character NUL, which no text may", path)


def _texts(message: Message) -> Iterator[tuple[str, str]]:
    for read in _readers(message.DESCRIPTOR):
        yield from read(message)


@cache
def _readers(descriptor: Descriptor) -> tuple[_Read, ...]:
    return tuple(_reader(field) for field in descriptor.fields if _can_hold_text(field))


def _can_hold_text(field: FieldDescriptor) -> bool:
    if field.type == FieldDescriptor.TYPE_STRING:
        return True
    inner = field.message_type
    return inner is not None and inner.full_name not in _ELSEWHERE and bool(_readers(inner))


def _reader(field: FieldDescriptor) -> _Read:
    name = field.name
    inner = field.message_type
    if inner is None:
        if field.is_repeated:
            return lambda message: ((name, text) for text in getattr(message, name))
        return lambda message: ((name, getattr(message, name)),)
    if inner.GetOptions().map_entry:
        with_values = inner.fields_by_name["value"].type == FieldDescriptor.TYPE_STRING
        return lambda message: _of_map(name, getattr(message, name), with_values)
    if field.is_repeated:
        return lambda message: _within(name, getattr(message, name))
    return lambda message: _within(name, [getattr(message, name)] if message.HasField(name) else [])


def _of_map(name: str, values: Any, with_values: bool) -> Iterator[tuple[str, str]]:
    for key in values:
        yield name, key
        if with_values:
            yield f"{name}.{key}", values[key]


def _within(name: str, messages: Iterable[Message]) -> Iterator[tuple[str, str]]:
    for message in messages:
        for path, text in _texts(message):
            yield f"{name}.{path}", text
