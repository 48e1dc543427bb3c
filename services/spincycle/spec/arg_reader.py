"""Reads the `args` of a sequence: declarations, types and defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from spincycle.spec.arg_type import NAMES, ArgType
from spincycle.spec.fields import Context, Fields
from spincycle.spec.model import Arg, ArgKind, Args
from spincycle.spec.pattern import InvalidPattern, compiled
from spincycle.spec.yaml_tree import position
from spincycle.text.nearest import did_you_mean

if TYPE_CHECKING:
    from spincycle.model.job_chain import Value

_LISTS = ("required", "optional", "static")
_ARG = ("name", "desc", "default", "type", "enum", "pattern", "min", "max", "secret")
_BOUNDED = ("string", "int", "list", "duration")


def read_args(node: yaml.Node, context: Context) -> Args:
    """Read the argument lists of a sequence."""
    lists = Fields(node, context, "args", _LISTS, "args.")
    return Args(
        _read_list("required", lists, context),
        _read_list("optional", lists, context),
        _read_list("static", lists, context),
    )


def _read_list(kind: ArgKind, lists: Fields, context: Context) -> tuple[Arg, ...]:
    entries = lists.entries(kind) or ()
    return tuple(_read_arg(kind, pos, entry, context) for pos, entry in enumerate(entries))


def _read_arg(kind: ArgKind, pos: int, entry: yaml.Node, context: Context) -> Arg:
    path = f"args.{kind}."
    fields = Fields(entry, context, "an argument", _ARG, path)
    type_ = _read_type(fields, context, path)
    default, has_default = _read_default(fields, type_, context, path)
    return Arg(
        name=fields.text("name") or "",
        kind=kind,
        pos=pos,
        desc=fields.text("desc") or "",
        default=default,
        has_default=has_default,
        type=type_,
        secret=fields.flag("secret"),
        at=position(entry),
        marks=fields.at,
    )


def _read_default(
    fields: Fields, type_: ArgType, context: Context, path: str
) -> tuple[Value, bool]:
    node = fields.get("default")
    raw: Value
    if node is None:
        return None, False
    if isinstance(node, yaml.SequenceNode) and type_.name == "list":
        raw = [text for text, _ in fields.texts("default") or ()]
    else:
        raw = fields.text("default")
        if raw is None:
            return None, False
    try:
        return type_.convert(raw), True
    except ValueError as error:
        values = (raw,) if isinstance(raw, str) else ()
        context.add(
            "default-invalid", f"the default {error}", position(node), f"{path}default", values
        )
        return raw, True


def _read_type(fields: Fields, context: Context, path: str) -> ArgType:
    type_ = ArgType(
        name=fields.text("type") or "",
        enum=tuple(text for text, _ in fields.texts("enum") or ()),
        pattern=fields.text("pattern") or "",
        min=fields.text("min") or "",
        max=fields.text("max") or "",
    )
    for field, problem in _problems(type_):
        context.add(
            "arg-type-invalid",
            problem,
            fields.at[field],
            path + field,
            (fields.text(field) or "",),
        )
        return ArgType()
    return type_


def _problems(type_: ArgType) -> list[tuple[str, str]]:
    if type_.name and type_.name not in NAMES:
        known = did_you_mean(type_.name, NAMES)
        return [("type", f'unknown type "{type_.name}"{known}: use one of {", ".join(NAMES)}')]
    found = []
    if type_.pattern:
        try:
            compiled(type_.pattern)
        except InvalidPattern as error:
            found.append(("pattern", str(error)))
    for field in ("min", "max"):
        text = getattr(type_, field)
        if text and type_.name not in _BOUNDED:
            found.append((field, f"{field} requires one of the types {', '.join(_BOUNDED)}"))
        elif text:
            try:
                type_.bound(text)
            except ValueError as error:
                found.append((field, f"{field}: {error}"))
    if type_.min and type_.max and not found and type_.bound(type_.min) > type_.bound(type_.max):
        found.append(("min", f"min {type_.min} is greater than max {type_.max}"))
    return found
