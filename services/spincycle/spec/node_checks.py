"""Checks of one node by itself: its category, retries and repetition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spincycle.model.duration import parse_duration
from spincycle.text.nearest import did_you_mean

if TYPE_CHECKING:
    from spincycle.spec.finding import Report
    from spincycle.spec.model import Node, Sequence

CATEGORIES = ("job", "sequence", "conditional")


def check_node(sequence: Sequence, node: Node, report: Report) -> None:
    """Run every check on the fields of one node, but for what it passes and sets."""
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
            "interruption-invalid", sequence, node, "interruption",
            "only a job can say what becomes of an interrupted try", values=(node.interruption,),
        )  # fmt: skip


def _category(sequence: Sequence, node: Node, report: Report) -> None:
    if not node.category:
        report.on(
            "category-missing", sequence, node, "category",
            f"a node needs a category: {', '.join(CATEGORIES)}",
        )  # fmt: skip
    elif node.category not in CATEGORIES:
        report.on(
            "category-unknown", sequence, node, "category",
            f'no category "{node.category}"{did_you_mean(node.category, CATEGORIES)}: '
            f"it is one of {', '.join(CATEGORIES)}", values=(node.category,),
        )  # fmt: skip


def _conditional(sequence: Sequence, node: Node, report: Report) -> None:
    if node.type:
        report.on(
            "type-on-conditional", sequence, node, "type",
            "a conditional has no type", values=(node.type,),
            advice="its sequences stand in eq",
        )  # fmt: skip
    if not node.if_:
        report.on(
            "if-missing", sequence, node, "if",
            "a conditional needs an if: the argument to look at",
        )  # fmt: skip
    if not node.eq:
        report.on(
            "eq-missing", sequence, node, "eq",
            "a conditional needs an eq: a sequence for each value",
        )  # fmt: skip


def _other(sequence: Sequence, node: Node, report: Report) -> None:
    what = f"a {node.category}" if node.category in CATEGORIES else "this node"
    if node.if_:
        report.on(
            "if-on-other", sequence, node, "if", f"{what} has no if", values=(node.if_,),
            advice="make its category conditional or take it out",
        )  # fmt: skip
    if node.eq:
        shown = tuple(f"{branch.value}: {branch.sequence}" for branch in node.eq)
        report.on(
            "eq-on-other", sequence, node, "eq", f"{what} has no eq", values=shown,
            advice="make its category conditional or take it out",
        )  # fmt: skip
    if not node.type:
        report.on("type-missing", sequence, node, "type", f"{what} needs a type")


def _retry(sequence: Sequence, node: Node, report: Report) -> None:
    if "retryWait" not in node.marks:
        return
    if not node.retry:
        report.on(
            "retry-wait-no-retry", sequence, node, "retry",
            "retryWait means nothing without retry", at=node.where("retryWait"),
            advice="say how often to retry",
        )  # fmt: skip
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
            "backoff-no-retry", sequence, node, "retry", "backoff means nothing without retry",
            at=node.where("backoff"), advice="say how often to retry",
        )  # fmt: skip
        return
    grows = node.backoff.factor > 1 and node.retry > 1
    if _is_zero(node.retry_wait) or not (grows or node.backoff.jitter):
        report.on(
            "backoff-never-applies", sequence, node, "backoff",
            "this backoff changes no wait", advice="give a retryWait, and retry more than once",
        )  # fmt: skip


def _parallel(sequence: Sequence, node: Node, report: Report) -> None:
    if node.parallel == 0:
        report.on(
            "parallel-invalid", sequence, node, "parallel", "parallel must be at least 1",
            values=("0",), advice="leave it out for no limit",
        )  # fmt: skip
    if node.parallel is not None and node.each is None:
        report.on(
            "parallel-without-each", sequence, node, "each",
            "parallel means nothing without each", at=node.where("parallel"),
        )  # fmt: skip


def _is_zero(text: str) -> bool:
    try:
        return parse_duration(text) == 0
    except ValueError:
        return False
