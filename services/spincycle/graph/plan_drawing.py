"""Renders a plan for Graphviz or Mermaid: jobs as boxes inside their sequences."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spincycle.graph.plan_text import show_args

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spincycle.graph.plan import Plan, PlanNode

_LONGEST = 60


def as_dot(plan: Plan) -> Iterator[str]:
    """Yield the lines of a Graphviz file."""
    yield "digraph plan {"
    yield "  rankdir=LR;"
    yield "  node [shape=box, style=rounded];"
    number, ends = _numbers(plan), _ends(plan)
    for node, depth, opening in _walk(plan.root):
        pad = "  " * depth
        if node.kind == "job":
            yield f'{pad}n{number[node.job.id]} [label="{_dot(_label(node))}"];'
        elif opening:
            yield f"{pad}subgraph cluster_{number[node.job.id]} {{"
            yield f'{pad}  label="{_dot(node.label)}";'
            yield f"{pad}  n{number[node.job.id]} [shape=point];"
        else:
            yield f"{pad}  n{number[ends[node.job.id]]} [shape=point];"
            yield f"{pad}}}"
    for before, after in _edges(plan):
        yield f"  n{number[before]} -> n{number[after]};"
    yield "}"


def as_mermaid(plan: Plan) -> Iterator[str]:
    """Yield the lines of a Mermaid flowchart."""
    yield "flowchart LR"
    number, ends = _numbers(plan), _ends(plan)
    for node, depth, opening in _walk(plan.root):
        pad = "  " * depth
        if node.kind == "job":
            yield f'{pad}n{number[node.job.id]}["{_mermaid(_label(node))}"]'
        elif opening:
            yield f'{pad}subgraph s{number[node.job.id]}["{_mermaid(node.label)}"]'
            yield f'{pad}  n{number[node.job.id]}((" "))'
        else:
            yield f'{pad}  n{number[ends[node.job.id]]}((" "))'
            yield f"{pad}end"
    for before, after in _edges(plan):
        yield f"  n{number[before]} --> n{number[after]}"


def _walk(root: PlanNode) -> Iterator[tuple[PlanNode, int, bool]]:
    """Yield (node, depth, whether it opens): each job once, each sequence twice."""
    waiting = [(root, 1, False), (root, 1, True)]
    while waiting:
        node, depth, opening = waiting.pop()
        yield node, depth, opening
        if opening:
            for child in reversed(node.children):
                if child.kind != "job":
                    waiting.append((child, depth + 1, False))
                waiting.append((child, depth + 1, child.kind != "job"))


def _numbers(plan: Plan) -> dict[str, int]:
    return {job_id: number for number, job_id in enumerate(plan.chain.jobs)}


def _edges(plan: Plan) -> Iterator[tuple[str, str]]:
    for before in plan.chain.jobs:
        for after in plan.chain.next_jobs.get(before, ()):
            yield before, after


def _ends(plan: Plan) -> dict[str, str]:
    """Return the end job of each sequence by its begin job."""
    return {
        job.sequence_id: job.id
        for job in plan.chain.jobs.values()
        if job.structural and job.sequence_id != job.id
    }


def _label(node: PlanNode) -> str:
    args = show_args(node.args)
    shown = args if len(args) <= _LONGEST else args[: _LONGEST - 1] + "…"
    return "\n".join(part for part in (node.label, node.job.type, shown) if part)


def _dot(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _mermaid(text: str) -> str:
    escaped = text.replace("&", "&amp;").replace('"', "&quot;")
    return escaped.replace("<", "&lt;").replace(">", "&gt;").replace("\n", "<br/>")
