"""Checks of the values that a node passes and sets: each, args and sets."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator

    from spincycle.spec.finding import Report
    from spincycle.spec.model import Node, Sequence

T = TypeVar("T")


def check_passing(sequence: Sequence, node: Node, report: Report) -> None:
    """Run every check on the lists of one node."""
    _each(sequence, node, report)
    _args(sequence, node, report)
    _each_against_args(sequence, node, report)
    _sets(sequence, node, report)


def _each(sequence: Sequence, node: Node, report: Report) -> None:
    entries = node.each or ()
    for entry in entries:
        if not entry.list:
            report.on(
                "each-invalid",
                sequence,
                node,
                "each",
                f'"{entry.text}" does not have the form list:element',
                at=entry.at,
                values=(entry.text,),
            )
    good = [entry for entry in entries if entry.list]
    for entry in _duplicates(good, lambda entry: entry.element):
        report.on(
            "each-element-duplicate",
            sequence,
            node,
            "each",
            f'element "{entry.element}" occurs twice',
            at=entry.at,
            values=(entry.element,),
        )
    for entry in _conflicts(good, lambda entry: entry.list, lambda entry: entry.element):
        report.on(
            "each-list-twice",
            sequence,
            node,
            "each",
            f'list "{entry.list}" has two element names',
            at=entry.at,
            values=(entry.list,),
            advice="remove one of them",
        )


def _args(sequence: Sequence, node: Node, report: Report) -> None:
    for arg in node.args:
        if not arg.expected:
            report.on(
                "expected-missing",
                sequence,
                node,
                "args.expected",
                "an args entry requires expected: the name of the child's argument",
                at=arg.at,
            )
    good = [arg for arg in node.args if arg.expected]
    for arg in _duplicates(good, lambda arg: arg.expected):
        report.on(
            "expected-duplicate",
            sequence,
            node,
            "args.expected",
            f'"{arg.expected}" is passed twice',
            at=arg.at,
            values=(arg.expected,),
        )
    for arg in _conflicts(good, lambda arg: arg.given, lambda arg: arg.expected):
        report.on(
            "given-twice",
            sequence,
            node,
            "args.given",
            f'"{arg.given}" is passed under two names',
            at=arg.assigned_at,
            values=(arg.given,),
        )


def _each_against_args(sequence: Sequence, node: Node, report: Report) -> None:
    expected = {arg.expected for arg in node.args}
    given = {arg.given for arg in node.args}
    for entry in node.each or ():
        if entry.list and entry.element in expected:
            report.on(
                "each-element-expected",
                sequence,
                node,
                "each",
                f'"{entry.element}" is an element in each and expected in args',
                at=entry.at,
                values=(entry.element,),
                advice="rename one of them",
            )
        if entry.list and entry.list in given:
            report.on(
                "each-list-given",
                sequence,
                node,
                "each",
                f'list "{entry.list}" is also passed as a whole',
                at=entry.at,
                values=(entry.list,),
                advice="remove it from args unless the job needs it",
            )


def _sets(sequence: Sequence, node: Node, report: Report) -> None:
    for entry in node.sets:
        if not entry.arg:
            report.on(
                "sets-arg-missing",
                sequence,
                node,
                "sets.arg",
                "a sets entry requires arg: the name that the child sets",
                at=entry.at,
            )
        if entry.collect and node.each is None:
            report.on(
                "collect-without-each",
                sequence,
                node,
                "sets.collect",
                "collect requires each",
                at=entry.at,
                values=(entry.arg,),
            )
        if entry.arg and node.each and not entry.collect:
            report.on(
                "sets-last-element",
                sequence,
                node,
                "sets",
                f'"{entry.as_}" is set to the value of the last element only',
                at=entry.as_at,
                values=(entry.as_,),
                advice="add collect: true for the list of all values",
            )
    good = [entry for entry in node.sets if entry.arg]
    for entry in _duplicates(good, lambda entry: entry.as_):
        report.on(
            "sets-as-duplicate",
            sequence,
            node,
            "sets.as",
            f'"{entry.as_}" is set twice by this node',
            at=entry.as_at,
            values=(entry.as_,),
        )
    # An argument may be set twice: to the last element's value and to the list of all values.
    for entry in _conflicts(
        good, lambda entry: (entry.arg, entry.collect), lambda entry: entry.as_
    ):
        report.on(
            "sets-arg-twice",
            sequence,
            node,
            "sets.arg",
            f'"{entry.arg}" is set under two names',
            at=entry.at,
            values=(entry.arg,),
        )


def _duplicates(entries: Iterable[T], key: Callable[[T], str]) -> Iterator[T]:
    """Yield the entries whose key occurred before; each key once."""
    seen: dict[str, bool] = {}
    for entry in entries:
        if seen.get(key(entry)) is False:
            seen[key(entry)] = True
            yield entry
        seen.setdefault(key(entry), False)


def _conflicts(
    entries: Iterable[T], key: Callable[[T], Hashable], value: Callable[[T], str]
) -> Iterator[T]:
    """Yield the entries whose key occurred before with another value; each key once."""
    first: dict[Hashable, str] = {}
    reported: set[Hashable] = set()
    for entry in entries:
        if (
            first.setdefault(key(entry), value(entry)) != value(entry)
            and key(entry) not in reported
        ):
            reported.add(key(entry))
            yield entry
