"""Resolves the source of each name in a sequence: an argument, or the ancestor that sets it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spincycle.spec.ancestry import Ancestry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spincycle.spec.model import Node, Sequence


class Sources:
    """Assigns slots to the names of one sequence.

    A name that several ancestors set has the value of the ancestor that is created last.

    Attributes:
        nodes: in creation order.
        arg_slots: slot of each argument by name.
        count: number of slots.
    """

    def __init__(self, sequence: Sequence, nodes: list[Node], deps: list[tuple[int, ...]]) -> None:
        self.nodes = nodes
        self.arg_slots: dict[str, int] = {}
        for arg in sequence.args.all():
            self.arg_slots.setdefault(arg.name, len(self.arg_slots))
        self.count = len(self.arg_slots)
        self._deps = deps
        self._set_slots: dict[tuple[int, str], int] = {}
        self._setters: dict[str, list[int]] = {}
        for index, node in enumerate(nodes):
            for entry in node.sets:
                if (index, entry.as_) not in self._set_slots:
                    self._set_slots[index, entry.as_] = self.count
                    self._setters.setdefault(entry.as_, []).append(index)
                    self.count += 1
        self._ancestry = Ancestry(deps)
        self._latest: dict[str, list[int]] = {}

    def find(self, name: str, index: int) -> int | None:
        """Return the slot from which a node reads a name; None if it is not set before the node."""
        setter = self._latest_setter(name, index)
        if setter is not None:
            return self._set_slots[setter, name]
        return self.arg_slots.get(name)

    def set_slot(self, index: int, name: str) -> int:
        """Return the slot in which a node sets a name."""
        return self._set_slots[index, name]

    def setters(self, name: str) -> list[int]:
        """Return the nodes that set a name, in creation order."""
        return self._setters.get(name, [])

    def visible(self, index: int) -> Iterable[str]:
        """Yield the names that a node can read."""
        yield from self.arg_slots
        for name in self._setters:
            if self._latest_setter(name, index) is not None:
                yield name

    def final(self) -> dict[str, int]:
        """Return the slot of each name after all nodes."""
        last = {name: setters[-1] for name, setters in self._setters.items()}
        return self.arg_slots | {name: self._set_slots[i, name] for name, i in last.items()}

    def _latest_setter(self, name: str, index: int) -> int | None:
        setters = self._setters.get(name)
        if not setters:
            return None
        if len(setters) == 1:
            return setters[0] if self._ancestry.before(setters[0], index) else None
        latest = self._latest.get(name)
        if latest is None:
            latest = self._latest[name] = self._flow(name)
        return latest[index] if latest[index] >= 0 else None

    def _flow(self, name: str) -> list[int]:
        """Return for each node its last ancestor that sets the name, or -1."""
        latest = [-1] * len(self.nodes)
        own = set(self._setters[name])
        for index, deps in enumerate(self._deps):
            for dep in deps:
                latest[index] = max(latest[index], dep if dep in own else latest[dep])
        return latest
