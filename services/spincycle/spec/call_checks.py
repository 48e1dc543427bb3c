"""Checks of the sequences and job types that a node references."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spincycle.model.job_chain import NOOP
from spincycle.spec.arg_type import text_of
from spincycle.spec.check import Severity
from spincycle.spec.model import Branch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spincycle.spec.finding import Report
    from spincycle.spec.model import Arg, Node, Position, Sequence


@dataclass(frozen=True, slots=True)
class JobTypeRule:
    """How job types are checked.

    Attributes:
        known: registered job types.
        severity: severity of an unregistered type.
    """

    known: frozenset[str]
    severity: Severity = Severity.ERROR


def check_job_type(sequence: Sequence, node: Node, rule: JobTypeRule, report: Report) -> None:
    """Check that the node's job type is registered."""
    if node.category != "job" or not node.type or node.type == NOOP or node.type in rule.known:
        return
    suggestion = report.did_you_mean(node.type, sorted(rule.known))
    report.on(
        "unknown-job-type",
        sequence,
        node,
        "type",
        f'job type "{node.type}" is not registered{suggestion}',
        values=(node.type,),
        severity=rule.severity,
        advice="load its factory with --jobs",
    )


def check_call(
    sequence: Sequence, node: Node, sequences: Mapping[str, Sequence], report: Report
) -> None:
    """Check the sequences that a node calls, and what it passes to them."""
    if not node.calls():
        return
    for branch in _targets(node):
        if branch.sequence not in sequences:
            field = "eq" if node.category == "conditional" else "type"
            suggestion = report.did_you_mean(branch.sequence, sequences)
            report.on(
                "unknown-sequence",
                sequence,
                node,
                field,
                f'no sequence "{branch.sequence}"{suggestion}',
                at=branch.at,
                values=(branch.sequence,),
            )
    called = [sequences[name] for name in node.calls() if name in sequences]
    if called:
        _required_args(sequence, node, called, report)
        if len(called) == len(node.calls()):
            _extra_args(sequence, node, called, report)
    if node.category == "conditional":
        _branches(sequence, node, report)


def _targets(node: Node) -> list[Branch]:
    if node.category == "conditional":
        return list(node.eq)
    return [Branch("", node.type, node.where("type"))]


def _required_args(sequence: Sequence, node: Node, called: list[Sequence], report: Report) -> None:
    passed = {arg.expected for arg in node.args} | {entry.element for entry in node.each or ()}
    missing: dict[str, list[str]] = {}
    for target in called:
        for arg in target.args.required:
            if arg.name and arg.name not in passed:
                missing.setdefault(arg.name, []).append(target.name)
    for name, targets in sorted(missing.items()):
        report.on(
            "required-arg-missing",
            sequence,
            node,
            "args",
            f'"{name}" is required by {" and ".join(targets)} but not passed',
            values=(name,),
            advice=f"add - expected: {name}",
        )


def _extra_args(sequence: Sequence, node: Node, called: list[Sequence], report: Report) -> None:
    taken = {
        arg.name for target in called for arg in (*target.args.required, *target.args.optional)
    }
    static = {arg.name for target in called for arg in target.args.static}
    passed: list[tuple[str, str, Position]] = [
        (arg.expected, "args", arg.at) for arg in node.args if arg.expected
    ]
    passed += [(entry.element, "each", entry.at) for entry in node.each or () if entry.list]
    names = " or ".join(target.name for target in called)
    for name, field, at in passed:
        if name not in taken:
            why = "is static in" if name in static else "is not an argument of"
            suggestion = "" if name in static else report.did_you_mean(name, sorted(taken))
            report.on(
                "extra-arg",
                sequence,
                node,
                field,
                f'"{name}" {why} {names}{suggestion}',
                at=at,
                values=(name,),
                advice="it is not passed",
            )


def _branches(sequence: Sequence, node: Node, report: Report) -> None:
    possible = _possible_values(sequence, node)
    if possible is None:
        return
    matched = {branch.value for branch in node.eq}
    shown = ", ".join(sorted(possible))
    for branch in node.eq:
        if branch.value == "default":
            reachable = bool(possible - (matched - {"default"}))
        else:
            reachable = branch.value in possible
        if not reachable:
            report.on(
                "unreachable-branch",
                sequence,
                node,
                "eq",
                f'branch "{branch.value}" is never taken: "{node.if_}" can only be {shown}',
                at=branch.at,
                values=(branch.value,),
            )
    if "default" not in matched:
        for value in sorted(possible - matched):
            report.on(
                "no-branch",
                sequence,
                node,
                "eq",
                f'"{node.if_}" can be "{value}", which has no branch',
                values=(value,),
                advice="add a branch for it, or a default",
            )


def _possible_values(sequence: Sequence, node: Node) -> set[str] | None:
    """Return the values that the `if` argument can have; None if they are unknown."""
    if any(entry.as_ == node.if_ for other in sequence.nodes.values() for entry in other.sets):
        return None
    arg = next((arg for arg in sequence.args.all() if arg.name == node.if_), None)
    return None if arg is None else _possible(arg)


def _possible(arg: Arg) -> set[str] | None:
    if arg.kind == "static":
        text = text_of(arg.default)
        return None if text is None else {text}
    values = set(arg.type.enum) if arg.type.enum else None
    if values is None and arg.type.name == "bool":
        values = {"true", "false"}
    if values is not None and arg.kind == "optional" and (text := text_of(arg.default)) is not None:
        values.add(text)
    return values
