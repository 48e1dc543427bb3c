"""Checks of one node's fields: category, retries and repetition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spincycle.model.duration import parse_duration
from spincycle.text.nearest import did_you_mean

if TYPE_CHECKING:
    from spincycle.spec.finding import Report
    from spincycle.spec.model import Node, Sequence

CATEGORIES = ("job", "sequence", "conditional")


def check_node(sequence: Sequence, node: Node, report: Report) -> None:
    """Run every check on the fields of one node, except each, args and sets."""
    _category(sequence, node, report)
    if node.category == "conditional":
        _conditional(sequence, node, report)
    else:
        _other(sequence, node, report)
    _retry(sequence, node, report)
    _backoff(sequence, node, report)
    _parallel(sequence, node, report)
    if node.interruption and node.category != "job":
        report.on(
            "interruption-invalid",
            sequence,
            node,
            "interruption",
            "only a job can have interruption",
            values=(node.interruption,),
        )


def _category(sequence: Sequence, node: Node, report: Report) -> None:
    if not node.category:
        report.on(
            "category-missing",
            sequence,
            node,
            "category",
            f"a node requires a category: {', '.join(CATEGORIES)}",
        )
    elif node.category not in CATEGORIES:
        report.on(
            "category-unknown",
            sequence,
            node,
            "category",
            f'unknown category "{node.category}"{did_you_mean(node.category, CATEGORIES)}: '
            f"use one of {', '.join(CATEGORIES)}",
            values=(node.category,),
        )


def _conditional(sequence: Sequence, node: Node, report: Report) -> None:
    if node.type:
        report.on(
            "type-on-conditional",
            sequence,
            node,
            "type",
            "a conditional cannot have a type",
            values=(node.type,),
            advice="list its sequences in eq",
        )
    if not node.if_:
        report.on(
            "if-missing",
            sequence,
            node,
            "if",
            "a conditional requires if: the name of an argument",
        )
    if not node.eq:
        report.on(
            "eq-missing",
            sequence,
            node,
            "eq",
            "a conditional requires eq: a sequence for each value",
        )


def _other(sequence: Sequence, node: Node, report: Report) -> None:
    what = f"a {node.category}" if node.category in CATEGORIES else "this node"
    if node.if_:
        report.on(
            "if-on-other",
            sequence,
            node,
            "if",
            f"{what} cannot have if",
            values=(node.if_,),
            advice="change the category to conditional or remove if",
        )
    if node.eq:
        shown = tuple(f"{branch.value}: {branch.sequence}" for branch in node.eq)
        report.on(
            "eq-on-other",
            sequence,
            node,
            "eq",
            f"{what} cannot have eq",
            values=shown,
            advice="change the category to conditional or remove eq",
        )
    if not node.type:
        report.on("type-missing", sequence, node, "type", f"{what} requires a type")


def _retry(sequence: Sequence, node: Node, report: Report) -> None:
    if "retryWait" not in node.marks:
        return
    if not node.retry:
        report.on(
            "retry-wait-no-retry",
            sequence,
            node,
            "retry",
            "retryWait requires retry",
            at=node.where("retryWait"),
            advice="add retry: the number of retries",
        )
    try:
        negative = parse_duration(node.retry_wait) < 0
        problem = "retryWait must not be negative" if negative else ""
    except ValueError as error:
        problem = str(error)
    if problem:
        report.on(
            "duration-invalid", sequence, node, "retryWait", problem, values=(node.retry_wait,)
        )


def _backoff(sequence: Sequence, node: Node, report: Report) -> None:
    if node.backoff is None:
        return
    if not node.retry:
        report.on(
            "backoff-no-retry",
            sequence,
            node,
            "retry",
            "backoff requires retry",
            at=node.where("backoff"),
            advice="add retry: the number of retries",
        )
        return
    grows = node.backoff.factor > 1 and node.retry > 1
    if _is_zero(node.retry_wait) or not (grows or node.backoff.jitter):
        report.on(
            "backoff-never-applies",
            sequence,
            node,
            "backoff",
            "this backoff does not change any wait",
            advice="set retryWait, and retry to 2 or more",
        )


def _parallel(sequence: Sequence, node: Node, report: Report) -> None:
    if node.parallel == 0:
        report.on(
            "parallel-invalid",
            sequence,
            node,
            "parallel",
            "parallel must be at least 1",
            values=("0",),
            advice="omit it for no limit",
        )
    if node.parallel is not None and node.each is None:
        report.on(
            "parallel-without-each",
            sequence,
            node,
            "each",
            "parallel requires each",
            at=node.where("parallel"),
        )


def _is_zero(text: str) -> bool:
    try:
        return parse_duration(text) == 0
    except ValueError:
        return False
