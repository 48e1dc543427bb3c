"""Reads one node of a sequence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from spincycle.model.job_chain import BackoffPolicy
from spincycle.spec.fields import Context, Fields
from spincycle.spec.model import Branch, Dep, Each, Node, NodeArg, NodeSet, Position
from spincycle.spec.yaml_tree import is_null, position

if TYPE_CHECKING:
    from spincycle.spec.model import Interruption

_NODE = (
    "category",
    "type",
    "if",
    "eq",
    "args",
    "sets",
    "each",
    "parallel",
    "deps",
    "retry",
    "retryWait",
    "timeout",
    "backoff",
    "interruption",
)
_ARG = ("expected", "given")
_SET = ("arg", "as", "collect")
_BACKOFF = ("factor", "max", "jitter")
_INTERRUPTIONS: dict[str, Interruption] = {"run-again": "run-again", "fail": "fail"}


def read_node(name: str, at: Position, body: yaml.Node, context: Context) -> Node:
    """Read a node and apply defaults; invalid fields are findings and omitted."""
    fields = Fields(body, context, "a node", _NODE)
    retry = fields.count("retry") or 0
    return Node(
        name=name,
        category=fields.text("category") or "",
        type=fields.text("type") or "",
        if_=fields.text("if") or "",
        eq=_read_eq(fields, context),
        args=tuple(_read_arg(entry, context) for entry in fields.entries("args") or ()),
        sets=tuple(_read_set(entry, context) for entry in fields.entries("sets") or ()),
        each=_read_each(fields),
        parallel=fields.count("parallel"),
        deps=tuple(Dep(dep, place) for dep, place in fields.texts("deps") or ()),
        retry=retry,
        retry_wait=fields.text("retryWait") or ("0s" if retry else ""),
        timeout=fields.duration("timeout"),
        backoff=_read_backoff(fields, context),
        interruption=_read_interruption(fields, context),
        at=at,
        marks=fields.at,
    )


def _read_arg(entry: yaml.Node, context: Context) -> NodeArg:
    fields = Fields(entry, context, "an args entry", _ARG, "args.")
    expected = fields.text("expected") or ""
    at = fields.at.get("expected", position(entry))
    return NodeArg(expected, fields.text("given") or expected, at, fields.at.get("given", at))


def _read_set(entry: yaml.Node, context: Context) -> NodeSet:
    if isinstance(entry, yaml.ScalarNode):
        arg = str(entry.value)
        return NodeSet(arg, arg, collect=False, at=position(entry), as_at=position(entry))
    fields = Fields(entry, context, "a sets entry", _SET, "sets.")
    arg = fields.text("arg") or ""
    at = fields.at.get("arg", position(entry))
    as_ = fields.text("as") or arg
    return NodeSet(arg, as_, fields.flag("collect"), at, fields.at.get("as", at))


def _read_each(fields: Fields) -> tuple[Each, ...] | None:
    entries = fields.texts("each")
    if entries is None:
        return None
    found = []
    for text, at in entries:
        parts = text.split(":")
        list_, element = parts if len(parts) == 2 and all(parts) else ("", "")
        found.append(Each(text, list_, element, at))
    return tuple(found)


def _read_eq(fields: Fields, context: Context) -> tuple[Branch, ...]:
    branches = []
    for value, key, target in fields.pairs("eq"):
        if isinstance(target, yaml.ScalarNode):
            sequence = "" if is_null(target) else str(target.value)
            at = position(key if is_null(target) else target)
            branches.append(Branch(value, sequence, at))
        else:
            context.add(
                "wrong-type",
                f'eq "{value}" must be the name of a sequence',
                position(target),
                "eq",
                (value,),
            )
    return tuple(branches)


def _read_backoff(fields: Fields, context: Context) -> BackoffPolicy | None:
    node = fields.get("backoff")
    if node is None:
        return None
    inner = Fields(node, context, "backoff", _BACKOFF, "backoff.")
    factor = inner.number("factor")
    jitter = inner.number("jitter")
    for name, value, low, high in (("factor", factor, 1, 1000), ("jitter", jitter, 0, 1)):
        if value is not None and not low <= value <= high:
            context.add(
                "backoff-invalid",
                f"{name} must be from {low} to {high}",
                inner.at[name],
                f"backoff.{name}",
                (inner.text(name) or "",),
            )
            return None
    return BackoffPolicy(
        factor=2.0 if factor is None else factor,
        max_wait=inner.duration("max"),
        jitter=jitter or 0.0,
    )


def _read_interruption(fields: Fields, context: Context) -> Interruption:
    text = fields.text("interruption")
    if text is None:
        return ""
    if text not in _INTERRUPTIONS:
        context.add(
            "interruption-invalid",
            f'"{text}" is not a valid interruption',
            fields.at["interruption"],
            "interruption",
            (text,),
            'write "run-again" or "fail"',
        )
        return ""
    return _INTERRUPTIONS[text]
