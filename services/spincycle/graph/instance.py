"""Instance of a sequence during the expansion: its values and edges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from spincycle.graph.chain_builder import merged_ids
from spincycle.graph.job_maker import SpecPlace
from spincycle.graph.job_paths import element_labels
from spincycle.graph.values import type_name
from spincycle.model.request_arg import REDACTED
from spincycle.spec.arg_type import text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spincycle.model.job_chain import ChainJob, Value
    from spincycle.spec.model import Arg
    from spincycle.spec.template import Template, TemplateNode


class _Missing:
    """Content of a slot that is not set."""


MISSING: Final = _Missing()


class Child:
    """The arguments of one element of a node.

    Attributes:
        element: number of the element, from 1; 0 if the node is not repeated.
        label: shows the element in paths; empty if the node is not repeated.
        secret: names of the secret arguments.
    """

    __slots__ = ("args", "element", "label", "secret")

    def __init__(
        self, args: dict[str, Value], element: int, label: str, secret: tuple[str, ...]
    ) -> None:
        self.args = args
        self.element = element
        self.label = label
        self.secret = secret


class Expanded:
    """Expansion of one node.

    Attributes:
        elements: (first job, last job) of each element.
        results: for each `sets` entry the values that the elements set.
        secret_results: for each `sets` entry whether a value is secret.
        waiting: elements that are not expanded yet.
        parents: parents of each element's first job.
    """

    __slots__ = ("elements", "parents", "results", "secret_results", "waiting")

    def __init__(self, waiting: Iterator[Child], parents: list[str], sets: int) -> None:
        self.waiting = waiting
        self.parents = parents
        self.elements: list[tuple[str, str]] = []
        self.results: list[list[Value | _Missing]] = [[] for _ in range(sets)]
        self.secret_results = [False] * sets


class Instance:
    """Values and edges of one instance of a sequence.

    Attributes:
        begin: its begin job, whose id is the sequence id of the instance's jobs.
        name: name of its structural jobs, without `_begin`.
        path: path of its node; empty for the request.
        next_node: index of the node that is expanded next.
        expanded: the node that is being expanded; None between nodes.
    """

    __slots__ = (
        "_exits", "_secret", "_slots", "begin", "expanded", "name", "next_node", "path",
        "request_type", "template",
    )  # fmt: skip

    def __init__(
        self, request_type: str, name: str, path: str, template: Template, begin: ChainJob
    ) -> None:
        self.request_type = request_type
        self.name = name
        self.path = path
        self.template = template
        self.begin = begin
        self.next_node = 0
        self.expanded: Expanded | None = None
        self._slots: list[Value | _Missing] = [MISSING] * template.slots
        self._secret: set[int] = set()
        self._exits: list[list[str]] = []

    def enter(self, passed: dict[str, Value], secret: tuple[str, ...], place: SpecPlace) -> None:
        """Set the argument slots from the values that the caller passes.

        Raises:
            ChainNotBuilt: a required argument is missing or a value is invalid.
        """
        for arg in self.template.sequence.args.all():
            slot = self.template.arg_slots[arg.name]
            if arg.kind == "static" or (arg.kind == "optional" and arg.name not in passed):
                value = arg.default
            elif arg.name in passed:
                value = passed[arg.name]
                if not arg.type.free:
                    value = self._converted(arg, value, place)
            else:
                raise place.error(f"required arg '{arg.name}' not set", argument=arg.name)
            self._slots[slot] = value
            if arg.secret or arg.name in secret:
                self._secret.add(slot)

    def expand(self, node: TemplateNode, place: SpecPlace, *, hide: bool) -> Expanded:
        """Start the expansion of a node; `hide` its elements' values, which what it calls hides."""
        groups = [self._exits[dep] for dep in node.deps]
        parents = merged_ids(groups) if groups else [self.begin.id]
        self.expanded = Expanded(self._children(node, place, hide), parents, len(node.sets))
        return self.expanded

    def finish(self, node: TemplateNode, expanded: Expanded, place: SpecPlace) -> None:
        """Store the results of a node and advance to the next one."""
        for index, target in enumerate(node.sets):
            results = expanded.results[index]
            if target.entry.collect:
                if any(result is MISSING for result in results):
                    raise place.error(
                        f"cannot collect {target.entry.arg}: an element did not set it"
                    )
                self._slots[target.slot] = [r for r in results if not isinstance(r, _Missing)]
            elif results:
                self._slots[target.slot] = results[-1]
            elif target.before is not None:
                self._slots[target.slot] = self._slots[target.before]
                expanded.secret_results[index] = target.before in self._secret
            if expanded.secret_results[index]:
                self._secret.add(target.slot)
        if expanded.elements:
            self._exits.append([last for _, last in expanded.elements])
        else:
            self._exits.append(expanded.parents)
        self.expanded = None
        self.next_node += 1

    def value(self, name: str) -> tuple[Value | _Missing, bool]:
        """Return the value of a name at the end of the sequence, and whether it is secret."""
        slot = self.template.final[name]
        return self._slots[slot], slot in self._secret

    def leaf_exits(self) -> list[str]:
        """Return the last jobs of the leaf nodes; the begin job if there are no nodes."""
        groups = [self._exits[leaf] for leaf in self.template.leaves]
        return merged_ids(groups) if groups else [self.begin.id]

    def branch(self, node: TemplateNode, place: SpecPlace) -> str:
        """Return the sequence that a conditional selects.

        Raises:
            ChainNotBuilt: no branch matches the value.
        """
        assert node.if_slot is not None
        name = node.node.if_
        raw = self._get(node.if_slot, name, place)
        value = text_of(raw)
        if value is None:
            raise place.error(f"'if: {name}' must be a string, not {type_name(raw)}", argument=name)
        chosen = node.branches.get(value) or node.branches.get("default")
        if chosen is None:
            shown = REDACTED if node.if_slot in self._secret else value
            options = ", ".join(sorted(node.branches))
            raise place.error(
                f"'if: {name}' value '{shown}' does not match any options: {options}",
                argument=name,
            )
        return chosen

    def _children(self, node: TemplateNode, place: SpecPlace, hide: bool) -> Iterator[Child]:  # noqa: FBT001 - private
        args = {expected: self._get(slot, expected, place) for expected, slot in node.args}
        secret = self._secret_among(node)
        if node.each is None:
            yield Child(self._with_if(node, args, place), 0, "", secret)
            return
        lists = [self._list(slot, element, place) for slot, element in node.each]
        if any(len(other) != len(lists[0]) for other in lists):
            lengths = ", ".join(
                f"{entry.list} has {len(values)}"
                for entry, values in zip(node.node.each or (), lists, strict=True)
            )
            raise place.error(f"each lists have different lengths: {lengths}")
        labels = element_labels(lists[0], secret=hide or node.each[0][0] in self._secret)
        for index, values in enumerate(zip(*lists, strict=True)):
            args_of_element = dict(args)
            for (_, element), value in zip(node.each, values, strict=True):
                args_of_element[element] = value
            args_of_element = self._with_if(node, args_of_element, place)
            yield Child(args_of_element, index + 1, labels[index], secret)

    def _secret_among(self, node: TemplateNode) -> tuple[str, ...]:
        """Return the names of a node's secret arguments."""
        if not self._secret:
            return ()
        sources = [*node.args, *((element, slot) for slot, element in node.each or ())]
        if node.if_slot is not None:
            sources.append((node.node.if_, node.if_slot))
        return tuple(sorted(name for name, slot in sources if slot in self._secret))

    def _with_if(
        self, node: TemplateNode, args: dict[str, Value], place: SpecPlace
    ) -> dict[str, Value]:
        if node.if_slot is not None:
            args[node.node.if_] = self._get(node.if_slot, node.node.if_, place)
        return args

    def _list(self, slot: int, element: str, place: SpecPlace) -> list[Value]:
        value = self._get(slot, element, place)
        if not isinstance(value, list):
            raise place.error(
                f"each requires a list for {element}, not {type_name(value)}", argument=element
            )
        return value

    def _get(self, slot: int, name: str, place: SpecPlace) -> Value:
        value = self._slots[slot]
        if isinstance(value, _Missing):
            raise place.error(
                f"{name} has no value: the node that sets it was repeated over an empty list",
                argument=name,
            )
        return value

    def _converted(self, arg: Arg, value: Value, place: SpecPlace) -> Value:
        try:
            return arg.type.convert(value)
        except ValueError as error:
            sequence = self.template.sequence.name
            raise place.error(f'argument "{arg.name}" of {sequence}: {error}', argument=arg.name)
