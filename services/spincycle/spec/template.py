"""A sequence made ready for expansion: nodes in order, each argument traced to its source."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spincycle.spec.cycles import circles
from spincycle.spec.sources import Sources

if TYPE_CHECKING:
    from spincycle.spec.finding import Report
    from spincycle.spec.model import Node, NodeSet, Position, Sequence


@dataclass(frozen=True, slots=True)
class SlotSet:
    """Where a node's `sets` entry goes.

    Attributes:
        slot: the slot that it fills.
        before: slot with the value of that name before the node; None if there is none.
            A node that is repeated over an empty list keeps that value.
    """

    entry: NodeSet
    slot: int
    before: int | None


@dataclass(frozen=True, slots=True)
class TemplateNode:
    """One node with its links.

    Attributes:
        deps: places of the nodes it depends on, each smaller than its own.
        args: (name in the child, slot of the parent).
        each: (slot of the list, name in the child); None if the node is not repeated.
        if_slot: slot that a conditional looks at.
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
    """A sequence whose nodes stand in creation order, which is a topological one.

    Every value of one instance of the sequence lives in a slot of its own: first the
    arguments, then what each node sets. So a node sees what its ancestors set, and nothing
    else, whatever the order in which the jobs are created.

    Attributes:
        leaves: places of the nodes that no other depends on.
        slots: number of slots.
        arg_slots: slot of each argument by name.
        final: slot of each name when the sequence is done.
    """

    sequence: Sequence
    nodes: tuple[TemplateNode, ...]
    leaves: tuple[int, ...]
    slots: int
    arg_slots: dict[str, int]
    final: dict[str, int]


def build_template(sequence: Sequence, report: Report) -> Template | None:
    """The template of a sequence; None, with findings, if its nodes do not fit together.

    Among nodes that could come next the one with the smallest name does, so that the order
    within the file means nothing.
    """
    edges = {node.name: _known_deps(sequence, node, report) for node in sequence.nodes.values()}
    order = _order(edges)
    if len(order) < len(edges):
        _report_circles(sequence, edges, set(order), report)
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
            meant = report.did_you_mean(dep.name, sequence.nodes)
            report.on(
                "unknown-dep", sequence, node, "deps",
                f'no node "{dep.name}" in this sequence{meant}',
                at=dep.at, values=(dep.name,),
            )  # fmt: skip
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


def _report_circles(
    sequence: Sequence, edges: dict[str, list[str]], ordered: set[str], report: Report
) -> None:
    left = {name: deps for name, deps in edges.items() if name not in ordered}
    for circle in circles(left):
        node = sequence.nodes[circle[0]]
        report.on(
            "dependency-cycle", sequence, node, "deps",
            f"nodes depend on each other in a circle: {' -> '.join([*circle, circle[0]])}",
            at=_dep_position(node, circle[1 % len(circle)]), values=tuple(circle),
            advice="take one of these deps out",
        )  # fmt: skip


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
        message = f'"{name}" is set by {quoted}, which need not run before this node'
        advice = f'add "{setters[0]}" to deps'
    else:
        known = sources.visible(index)
        message = f'"{name}" is not set before this node{report.did_you_mean(name, known)}'
        advice = "declare it in the sequence's args, or let a node set it that this one depends on"
    report.on("arg-not-set", sequence, node, field, message, at=at, values=(name,), advice=advice)
