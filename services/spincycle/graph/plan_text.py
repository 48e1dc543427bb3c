"""Renders a plan as a tree or as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from spincycle.model.duration import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from spincycle.graph.plan import Plan, PlanNode
    from spincycle.model.job_chain import ChainJob, Value


def as_text(plan: Plan) -> Iterator[str]:
    """Yield the lines of a plan: header, arguments, tree."""
    yield f"request {plan.type}"
    for arg in plan.args:
        yield f"  {arg.name} = {show_value(arg.value)}" + ("" if arg.given else f"  ({arg.type})")
    yield (
        f"{plan.total_jobs} jobs, {plan.work_jobs} of them work; {plan.depth} deep, "
        f"at most {plan.widest} at once"
    )
    if plan.chain.timeout is not None:
        yield f"timeout {_seconds(plan.chain.timeout)}"
    yield f"plan {plan.hash}"
    yield ""
    yield from _tree(plan.root)


def as_json(plan: Plan) -> str:
    """Return the plan as a JSON object."""
    body = {
        "type": plan.type,
        "args": [
            {"name": arg.name, "type": arg.type, "given": arg.given, "value": arg.value}
            for arg in plan.args
        ],
        "hash": plan.hash,
        "specRevision": plan.spec_revision,
        "totalJobs": plan.total_jobs,
        "workJobs": plan.work_jobs,
        "widest": plan.widest,
        "depth": plan.depth,
        "timeout": plan.chain.timeout,
        "nodes": _nested(plan.root),
    }
    return orjson.dumps(body, option=orjson.OPT_INDENT_2).decode()


def show_value(value: Value) -> str:
    """Return a value on one line: a plain word as it is, anything else as JSON."""
    if isinstance(value, str) and value.isprintable() and value and " " not in value:
        return value
    return orjson.dumps(value).decode()


def show_args(args: Mapping[str, Value]) -> str:
    """Return arguments as name=value, sorted by name."""
    return " ".join(f"{name}={show_value(args[name])}" for name in sorted(args))


def rules(job: ChainJob) -> list[str]:
    """Return the retries, timeout and interruption rule of a job or of the sequence it opens."""
    sequence = job.structural
    retry = job.sequence_retry if sequence else job.retry
    wait = job.sequence_retry_wait if sequence else job.retry_wait
    timeout = job.sequence_timeout if sequence else job.timeout
    found = []
    if retry:
        after = f" after {wait}" if wait not in {"", "0s"} else ""
        found.append(f"retry {retry}{after}")
        if job.backoff is not None:
            most = job.backoff.max_wait
            limit = "" if most is None else f" up to {_seconds(most)}"
            found.append(f"backoff {job.backoff.factor:g}{limit}")
    if timeout is not None:
        found.append(f"timeout {_seconds(timeout)}")
    if job.fail_if_interrupted:
        found.append("fails if interrupted")
    return found


def _tree(root: PlanNode) -> Iterator[str]:
    waiting: list[tuple[PlanNode, str, bool]] = [
        (child, "", index == 0) for index, child in enumerate(reversed(root.children))
    ]
    while waiting:
        node, pad, last = waiting.pop()
        yield f"{pad}{'└─' if last else '├─'} {_line(node)}"
        inner = pad + ("   " if last else "│  ")
        waiting += [
            (child, inner, index == 0) for index, child in enumerate(reversed(node.children))
        ]


def _line(node: PlanNode) -> str:
    what = node.job.type if node.kind == "job" else node.kind
    parts = [f"{node.label}  {what}", show_args(node.args)]
    notes = rules(node.job)
    if node.element == 1:
        notes.append(f"{node.elements} elements" + _at_once(node))
    if node.after:
        notes.append(f"after {', '.join(node.after)}")
    if notes:
        parts.append(f"({'; '.join(notes)})")
    return "  ".join(part for part in parts if part)


def _at_once(node: PlanNode) -> str:
    return f", {node.parallel} at a time" if node.parallel else ""


def _nested(root: PlanNode) -> list[dict[str, Any]]:
    # Not recursive: sequences may be nested deeper than Python's recursion limit.
    top: list[dict[str, Any]] = []
    waiting = [(child, top) for child in reversed(root.children)]
    while waiting:
        node, siblings = waiting.pop()
        inner: list[dict[str, Any]] = []
        siblings.append(_body(node, inner))
        waiting += [(child, inner) for child in reversed(node.children)]
    return top


def _body(node: PlanNode, inner: list[dict[str, Any]]) -> dict[str, Any]:
    body: dict[str, Any] = {"name": node.name, "kind": node.kind}
    if node.kind == "job":
        body |= {"type": node.job.type, "args": node.args}
    if node.element:
        body |= {"element": node.element, "elements": node.elements}
    if node.parallel:
        body["parallel"] = node.parallel
    if notes := rules(node.job):
        body["rules"] = notes
    body["after"] = list(node.after)
    if node.kind != "job":
        body["nodes"] = inner
    return body


def _seconds(seconds: float) -> str:
    return format_duration(seconds) if seconds.is_integer() else f"{seconds:g}s"
