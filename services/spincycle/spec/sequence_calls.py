"""Checks across sequences: calls, cycles, values that calls set, and unused names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spincycle.model.job_chain import NOOP
from spincycle.spec.cycles import find_cycles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from spincycle.spec.finding import Report
    from spincycle.spec.model import Node, NodeSet, Sequence


def check_calls(sequences: Mapping[str, Sequence], report: Report) -> None:
    """Run every check that involves several sequences."""
    ends = {name: _names_at_end(sequence) for name, sequence in sequences.items()}
    for sequence in sequences.values():
        for node in sequence.nodes.values():
            _guaranteed(sequence, node, ends, report)
    _unused(sequences, report)
    _retries(sequences, report)
    _failed_callers(sequences, _cycles(sequences, report), report)


def _names_at_end(sequence: Sequence) -> set[str]:
    set_names = {entry.as_ for node in sequence.nodes.values() for entry in node.sets}
    return set_names | {arg.name for arg in sequence.args.all()}


def _guaranteed(
    sequence: Sequence, node: Node, ends: Mapping[str, set[str]], report: Report
) -> None:
    called = [name for name in node.calls() if name in ends]
    for entry in node.sets:
        lacking = [name for name in called if entry.arg not in ends[name]]
        if lacking and entry.arg:
            known = sorted(set.intersection(*(ends[name] for name in called)))
            report.on(
                "sets-not-guaranteed",
                sequence,
                node,
                "sets",
                f'{" and ".join(lacking)} does not set "{entry.arg}"'
                f"{report.did_you_mean(entry.arg, known)}",
                at=entry.at,
                values=(entry.arg,),
            )


def _cycles(sequences: Mapping[str, Sequence], report: Report) -> dict[str, int]:
    """Report cycles; return the number of the cycle of each sequence that is part of one."""
    edges = {
        name: [called for node in sequence.nodes.values() for called in node.calls()]
        for name, sequence in sequences.items()
    }
    member = {}
    for number, cycle in enumerate(find_cycles(edges)):
        path = " -> ".join([*cycle, cycle[0]])
        for index, name in enumerate(cycle):
            member[name] = number
            following = cycle[(index + 1) % len(cycle)]
            node = _caller(sequences[name], following)
            report.on(
                "sequence-cycle",
                sequences[name],
                node,
                _call_field(node),
                f"sequences call each other in a cycle: {path}",
                values=tuple(cycle),
            )
    return member


def _failed_callers(
    sequences: Mapping[str, Sequence], member: Mapping[str, int], report: Report
) -> None:
    callers: dict[str, list[tuple[str, Node]]] = {}
    for sequence in sequences.values():
        for node in sequence.nodes.values():
            for called in node.calls():
                callers.setdefault(called, []).append((sequence.name, node))
    waiting = [name for name in sequences if report.failed(name)]
    done = set(waiting)
    while waiting:
        failed = waiting.pop()
        for caller, node in callers.get(failed, ()):
            if failed in member and member.get(caller) == member[failed]:
                continue
            report.on(
                "sequence-failed",
                sequences[caller],
                node,
                _call_field(node),
                f'sequence "{failed}" has errors',
                values=(failed,),
                advice=f"see {sequences[failed].file}:{sequences[failed].at.line}",
            )
            if caller not in done:
                done.add(caller)
                waiting.append(caller)


def _unused(sequences: Mapping[str, Sequence], report: Report) -> None:
    taken = {
        (called, entry.arg)
        for sequence in sequences.values()
        for node in sequence.nodes.values()
        for called in node.calls()
        for entry in node.sets
    }
    for sequence in sequences.values():
        used = {name for node in sequence.nodes.values() for name in _reads(node)}
        for arg in sequence.args.all():
            if arg.name and arg.name not in used and (sequence.name, arg.name) not in taken:
                report.on(
                    "unused-arg",
                    sequence,
                    None,
                    f"args.{arg.kind}",
                    f'no node uses argument "{arg.name}"',
                    at=arg.marks.get("name", arg.at),
                    values=(arg.name,),
                    advice="pass it to a node or remove it",
                )
        for node, entry in _set_entries(sequence):
            if entry.as_ and entry.as_ not in used and (sequence.name, entry.as_) not in taken:
                report.on(
                    "unused-set",
                    sequence,
                    node,
                    "sets",
                    f'nothing uses "{entry.as_}"',
                    at=entry.as_at,
                    values=(entry.as_,),
                    advice="remove it",
                )


def _retries(sequences: Mapping[str, Sequence], report: Report) -> None:
    harmless = _harmless(sequences)
    for sequence in sequences.values():
        for node in sequence.nodes.values():
            calls = node.calls()
            idle = node.category == "job" and node.type == NOOP
            if node.retry and (idle or (calls and all(name in harmless for name in calls))):
                report.on(
                    "retry-never-applies",
                    sequence,
                    node,
                    "retry",
                    "this node runs only noop jobs, which never fail",
                    values=(str(node.retry),),
                    advice="remove retry",
                )


def _harmless(sequences: Mapping[str, Sequence]) -> set[str]:
    """Return the sequences that run only noop jobs."""
    callers: dict[str, set[str]] = {}
    open_calls: dict[str, int] = {}
    for name, sequence in sequences.items():
        calls: set[str] = set()
        for node in sequence.nodes.values():
            # A conditional does not fail at run time.
            calls.update(node.calls())
        works = any(
            not node.calls() and not (node.category == "job" and node.type == NOOP)
            for node in sequence.nodes.values()
        )
        open_calls[name] = -1 if works or not calls <= sequences.keys() else len(calls)
        for called in calls:
            callers.setdefault(called, set()).add(name)
    waiting = [name for name, count in open_calls.items() if count == 0]
    found = set(waiting)
    while waiting:
        for caller in callers.get(waiting.pop(), ()):
            open_calls[caller] -= 1
            if open_calls[caller] == 0:
                found.add(caller)
                waiting.append(caller)
    return found


def _reads(node: Node) -> Iterator[str]:
    yield from (arg.given for arg in node.args)
    yield from (entry.list for entry in node.each or ())
    yield node.if_


def _set_entries(sequence: Sequence) -> Iterator[tuple[Node, NodeSet]]:
    for node in sequence.nodes.values():
        for entry in node.sets:
            yield node, entry


def _caller(sequence: Sequence, called: str) -> Node:
    return next(node for node in sequence.nodes.values() if called in node.calls())


def _call_field(node: Node) -> str:
    return "eq" if node.category == "conditional" else "type"
