"""Template of a sequence for expansion: nodes in order, names resolved to slots."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spincycle.spec.cycles import find_cycles
from spincycle.spec.sources import Sources

if TYPE_CHECKING:
    from spincycle.spec.finding import Report
    from spincycle.spec.model import Node, NodeSet, Position, Sequence


@dataclass(frozen=True, slots=True)
class SlotSet:
    """Target of a node's `sets` entry.

    Attributes:
        slot: the slot that it sets.
        before: slot with the value of that name before the node; None if there is none. A node
            with `each` over an empty list keeps that value.
    """

    entry: NodeSet
    slot: int
    before: int | None


@dataclass(frozen=True, slots=True)
class TemplateNode:
    """One node with its links.

    Attributes:
        deps: indexes of the nodes it depends on, each smaller than its own.
        args: (name in the child, slot of the parent).
        each: (slot of the list, name in the child); None if the node has no `each`.
        if_slot: slot that a conditional compares.
        branches: sequence by value, for a conditional.
    """

    node: Node
    deps: tuple[int, ...]
    args: tuple[tuple[str, int], ...]
    each: tuple[tuple[int, str], ...] | None
    if_slot: int | None
    branches: dict[str, str]
    sets: tuple[SlotSet, ...]


@dataclass(frozen=True, slots=True)
class Template:
    """A sequence with its nodes in creation order, which is a topological order.

    Each value of an instance of the sequence has its own slot: first the arguments, then the names
    that each node sets. So a node reads only what its ancestors set, independent of the order in
    which the jobs are created.

    Attributes:
        leaves: indexes of the nodes on which no other node depends.
        slots: number of slots.
        arg_slots: slot of each argument by name.
        final: slot of each name after the sequence.
    """

    sequence: Sequence
    nodes: tuple[TemplateNode, ...]
    leaves: tuple[int, ...]
    slots: int
    arg_slots: dict[str, int]
    final: dict[str, int]


def build_template(sequence: Sequence, report: Report) -> Template | None:
    """Return the template of a sequence; None, with findings, if it has errors.

    Of the nodes that could be next the one with the smallest name is, so that the order within the
    file does not matter.
    """
    edges = {node.name: _known_deps(sequence, node, report) for node in sequence.nodes.values()}
    order = _order(edges)
    if len(order) < len(edges):
        _report_cycles(sequence, edges, set(order), report)
        return None
    place = {name: index for index, name in enumerate(order)}
    nodes = [sequence.nodes[name] for name in order]
    deps = [tuple(sorted(place[dep] for dep in edges[name])) for name in order]
    sources = Sources(sequence, nodes, deps)
    linked = [_link(sequence, index, deps[index], sources, report) for index in range(len(nodes))]
    whole = [node for node in linked if node is not None]
    if len(whole) < len(linked) or report.failed(sequence.name):
        return None
    inner = {dep for before in deps for dep in before}
    leaves = tuple(index for index in range(len(nodes)) if index not in inner)
    return Template(
        sequence, tuple(whole), leaves, sources.count, sources.arg_slots, sources.final()
    )


def _known_deps(sequence: Sequence, node: Node, report: Report) -> list[str]:
    known: dict[str, None] = {}
    for dep in node.deps:
        if dep.name in sequence.nodes:
            known[dep.name] = None
        else:
            suggestion = report.did_you_mean(dep.name, sequence.nodes)
            report.on(
                "unknown-dep",
                sequence,
                node,
                "deps",
                f'no node "{dep.name}" in this sequence{suggestion}',
                at=dep.at,
                values=(dep.name,),
            )
    return list(known)


def _order(edges: dict[str, list[str]]) -> list[str]:
    missing = {name: len(deps) for name, deps in edges.items()}
    following: dict[str, list[str]] = {name: [] for name in edges}
    for name, deps in edges.items():
        for dep in deps:
            following[dep].append(name)
    ready = [name for name, count in missing.items() if not count]
    heapq.heapify(ready)
    order = []
    while ready:
        name = heapq.heappop(ready)
        order.append(name)
        for successor in following[name]:
            missing[successor] -= 1
            if not missing[successor]:
                heapq.heappush(ready, successor)
    return order


def _report_cycles(
    sequence: Sequence, edges: dict[str, list[str]], ordered: set[str], report: Report
) -> None:
    remaining = {name: deps for name, deps in edges.items() if name not in ordered}
    for cycle in find_cycles(remaining):
        node = sequence.nodes[cycle[0]]
        report.on(
            "dependency-cycle",
            sequence,
            node,
            "deps",
            f"nodes depend on each other in a cycle: {' -> '.join([*cycle, cycle[0]])}",
            at=_dep_position(node, cycle[1 % len(cycle)]),
            values=tuple(cycle),
            advice="remove one of these deps",
        )


def _dep_position(node: Node, name: str) -> Position:
    return next(dep.at for dep in node.deps if dep.name == name)


def _link(
    sequence: Sequence, index: int, deps: tuple[int, ...], sources: Sources, report: Report
) -> TemplateNode | None:
    node = sources.nodes[index]
    args, each = [], []
    missing = False
    for arg in node.args:
        slot = sources.find(arg.given, index)
        missing = missing or slot is None
        if slot is not None:
            args.append((arg.expected, slot))
        elif arg.given:
            _report_missing(sequence, index, "args", arg.given, arg.assigned_at, sources, report)
    for entry in node.each or ():
        slot = sources.find(entry.list, index)
        missing = missing or slot is None
        if slot is not None:
            each.append((slot, entry.element))
        elif entry.list:
            _report_missing(sequence, index, "each", entry.list, entry.at, sources, report)
    if_slot = sources.find(node.if_, index) if node.if_ else None
    if node.if_ and if_slot is None:
        missing = True
        at = node.where("if")
        _report_missing(sequence, index, "if", node.if_, at, sources, report)
    if missing:
        return None
    return TemplateNode(
        node=node,
        deps=deps,
        args=tuple(args),
        each=tuple(each) if node.each else None,
        if_slot=if_slot,
        branches={branch.value: branch.sequence for branch in node.eq},
        sets=tuple(
            SlotSet(entry, sources.set_slot(index, entry.as_), sources.find(entry.as_, index))
            for entry in node.sets
        ),
    )


def _report_missing(
    sequence: Sequence,
    index: int,
    field: str,
    name: str,
    at: Position,
    sources: Sources,
    report: Report,
) -> None:
    node = sources.nodes[index]
    setters = [sources.nodes[setter].name for setter in sources.setters(name) if setter != index]
    if setters:
        quoted = " or ".join(f'"{setter}"' for setter in setters[:3])
        message = f'"{name}" is set by {quoted}, on which this node does not depend'
        advice = f'add "{setters[0]}" to deps'
    else:
        known = sources.visible(index)
        message = f'"{name}" is not set before this node{report.did_you_mean(name, known)}'
        advice = "declare it in the sequence's args, or set it in a node on which this one depends"
    report.on("arg-not-set", sequence, node, field, message, at=at, values=(name,), advice=advice)
