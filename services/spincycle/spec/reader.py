"""Reads the sequences of one spec file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import yaml

from spincycle.spec.arg_reader import read_args
from spincycle.spec.fields import Context, Fields, TooManyEntries
from spincycle.spec.model import Acl, Args, Position, Sequence
from spincycle.spec.node_reader import read_node
from spincycle.spec.yaml_tree import NotYaml, is_null, parse, position

if TYPE_CHECKING:
    from spincycle.spec.finding import Report
    from spincycle.spec.model import Node

_SEQUENCE = (
    "request",
    "args",
    "acl",
    "nodes",
    "timeout",
    "max_running",
    "allow_extra",
)
_ACL = ("role", "admin", "ops")
_SPARE_ENTRIES = 100_000
_START = Position(1, 1, 2)


def read_file(file: str, text: str, report: Report) -> list[Sequence]:
    """Read the sequences of one file; invalid parts are findings and omitted."""
    # Without aliases a file has fewer entries than characters.
    context = Context(file, report, entries_left=_SPARE_ENTRIES + len(text))
    try:
        root, second = parse(text)
    except NotYaml as error:
        context.add("yaml-syntax", error.problem, error.at or _START, "")
        return []
    if second is not None:
        context.add(
            "extra-document",
            "only the first YAML document of a file is read",
            second,
            "",
            advice="move the second one to another file",
        )
    if root is None or is_null(root):
        return []
    try:
        return _read_sequences(root, context)
    except TooManyEntries:
        context.add(
            "yaml-syntax",
            "aliases expand this file to too many entries",
            _START,
            "",
            advice="use fewer aliases of long lists",
        )
        return []


def _read_sequences(root: yaml.Node, context: Context) -> list[Sequence]:
    top = Fields(root, context, "a spec file", ("sequences",))
    sequences = []
    for name, key, body in top.pairs("sequences"):
        context.sequence = name
        if is_null(body):
            context.add(
                "empty-entry",
                f'sequence "{name}" has no content',
                position(key),
                "sequences",
                (name,),
                "add nodes or remove it",
            )
        elif isinstance(body, yaml.MappingNode):
            sequences.append(_read_sequence(name, position(key), body, context))
        else:
            context.add("wrong-type", "a sequence must be a map", position(body), "sequences")
    return sequences


def _read_sequence(name: str, at: Position, body: yaml.Node, context: Context) -> Sequence:
    fields = Fields(body, context, "a sequence", _SEQUENCE)
    args = fields.get("args")
    return Sequence(
        name=name,
        request=fields.flag("request"),
        args=Args() if args is None else read_args(args, context),
        acl=tuple(_read_acl(entry, context) for entry in fields.entries("acl") or ()),
        nodes=_read_nodes(fields, context),
        timeout=fields.duration("timeout"),
        max_running=_read_max_running(fields, context),
        allow_extra=fields.flag("allow_extra"),
        file=context.file,
        at=at,
        marks=fields.at,
    )


def _read_nodes(fields: Fields, context: Context) -> dict[str, Node]:
    nodes: dict[str, Node] = {}
    for name, key, body in fields.pairs("nodes"):
        context.node = name
        if is_null(body):
            context.add(
                "empty-entry",
                f'node "{name}" has no content',
                position(key),
                "nodes",
                (name,),
                "add a category or remove it",
            )
        else:
            nodes[name] = read_node(name, position(key), body, context)
    context.node = ""
    return nodes


def _read_acl(entry: yaml.Node, context: Context) -> Acl:
    fields = Fields(entry, context, "an ACL", _ACL, "acl.")
    return Acl(
        role=fields.text("role") or "",
        admin=fields.flag("admin"),
        ops=tuple(op for op, _ in fields.texts("ops") or ()),
        at=position(entry),
        marks=fields.at,
    )


def _read_max_running(fields: Fields, context: Context) -> int | None:
    limit = fields.count("max_running")
    if limit == 0:
        context.add(
            "max-running-invalid",
            "max_running must be at least 1",
            fields.at["max_running"],
            "max_running",
            ("0",),
            "omit it for no limit",
        )
        return None
    return limit
