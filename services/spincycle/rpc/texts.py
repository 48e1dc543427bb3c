"""Validates the texts in requests before they are processed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from math import inf
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from spincycle.errors import InvalidInput
from spincycle.rpc.text_bounds import BOUNDED_ELSEWHERE, SHORTENED, SKIPPED, Bound, bound_of

_Text = tuple[str, Any, Bound | None]
"""Path, text and bound of a text; or path, collection and bound of a list or a map."""

_Read = Callable[[Any, bool], Iterable[_Text]]


def check_texts(request: Message, raw: bytes) -> None:
    """Check that each text of a request is within its bound and does not contain NUL.

    PostgreSQL cannot store NUL in a text. `raw` is the encoded request: if it contains no NUL and
    is no longer than the smallest bound of its fields, the message is not traversed.

    Raises:
        InvalidInput: a text is too long or contains NUL, or a list has too many items; `field` is
            the path.
    """
    has_nul = b"\0" in raw
    if not has_nul and len(raw) <= _smallest_bound(request.DESCRIPTOR):
        return
    for path, text, bound in _texts(request, has_nul=has_nul):
        if not isinstance(text, str):
            _check_items(path, text, bound)
            continue
        if bound is not None and len(text) * 4 > bound.limit:
            _check_size(path, text, bound)
        if has_nul and "\0" in text:
            raise InvalidInput(f"{path} contains the character NUL, which is not allowed", path)


def _check_size(path: str, text: str, bound: Bound) -> None:
    size = len(text) if bound.unit == "characters" else len(text.encode())
    if size > bound.limit:
        raise InvalidInput(
            f"{path} has {size} {bound.unit}; it may have at most {bound.limit}", path
        )


def _check_items(path: str, values: Any, bound: Bound | None) -> None:
    if bound is not None and bound.items is not None and len(values) > bound.items:
        raise InvalidInput(
            f"{path} has {len(values)} items; it may have at most {bound.items}", path
        )


def _texts(message: Message, *, has_nul: bool) -> Iterator[_Text]:
    for read in _readers(message.DESCRIPTOR):
        yield from read(message, has_nul)


@cache
def _smallest_bound(descriptor: Descriptor) -> float:
    """Return the size in bytes up to which a message cannot exceed any bound of its fields."""
    smallest = inf
    for field in filter(_is_checked, descriptor.fields):
        bound = bound_of(field)
        if bound is not None:
            smallest = min(smallest, *filter(None, (bound.limit, bound.items)))
        if field.message_type is not None:
            smallest = min(smallest, _smallest_bound(field.message_type))
    return smallest


@cache
def _readers(descriptor: Descriptor) -> tuple[_Read, ...]:
    return tuple(_reader(field) for field in descriptor.fields if _is_checked(field))


def _is_checked(field: FieldDescriptor) -> bool:
    if field.full_name in SKIPPED:
        return False
    if field.type == FieldDescriptor.TYPE_STRING or bound_of(field) is not None:
        return True
    inner = field.message_type
    return inner is not None and inner.full_name not in BOUNDED_ELSEWHERE and bool(_readers(inner))


def _reader(field: FieldDescriptor) -> _Read:
    name = field.name
    bound = None if field.full_name in SHORTENED else bound_of(field)
    inner = field.message_type
    if inner is None:
        if not field.is_repeated:
            return lambda message, _: ((name, getattr(message, name), bound),)
        is_text = field.type == FieldDescriptor.TYPE_STRING
        return lambda message, _: _of_list(name, getattr(message, name), bound, is_text=is_text)
    if inner.GetOptions().map_entry:
        value = inner.fields_by_name["value"]
        with_values = value.type == FieldDescriptor.TYPE_STRING
        of_value = bound_of(value)
        return lambda message, _: _of_map(
            name, getattr(message, name), bound, of_value, with_values=with_values
        )
    if field.is_repeated:
        if inner.full_name in BOUNDED_ELSEWHERE:
            return lambda message, _: ((name, getattr(message, name), bound),)
        return lambda message, has_nul: _of_messages(
            name, getattr(message, name), bound, has_nul=has_nul
        )
    return lambda message, has_nul: (
        _within(name, getattr(message, name), has_nul=has_nul) if message.HasField(name) else ()
    )


def _of_list(name: str, values: Any, bound: Bound | None, *, is_text: bool) -> Iterator[_Text]:
    yield name, values, bound
    if is_text:
        for text in values:
            yield name, text, bound


def _of_map(
    name: str, values: Any, bound: Bound | None, of_value: Bound | None, *, with_values: bool
) -> Iterator[_Text]:
    yield name, values, bound
    for key in values:
        yield name, key, bound
        if with_values:
            yield f"{name}.{key}", values[key], of_value


def _of_messages(
    name: str, messages: Iterable[Message], bound: Bound | None, *, has_nul: bool
) -> Iterator[_Text]:
    yield name, messages, bound
    for index, message in enumerate(messages):
        yield from _within(f"{name}[{index}]", message, has_nul=has_nul)


def _within(name: str, message: Message, *, has_nul: bool) -> Iterator[_Text]:
    if not has_nul and message.ByteSize() <= _smallest_bound(message.DESCRIPTOR):
        return
    for path, text, bound in _texts(message, has_nul=has_nul):
        yield f"{name}.{path}", text, bound
