"""Differences between two plans, by node instead of job id."""

from __future__ import annotations

import hashlib
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from spincycle.graph.plan_text import rules, show_value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from spincycle.graph.plan import Plan, PlanNode


@dataclass(frozen=True, slots=True)
class PlanChange:
    """One difference.

    Attributes:
        path: names of the nodes from the request to the node, joined by " / ".
        field: changed field of a node, for example "args.host"; empty otherwise.
        before: old value; empty if there was none.
        after: new value; empty if there is none.
    """

    kind: Literal["added", "removed", "changed"]
    path: str
    field: str = ""
    before: str = ""
    after: str = ""

    def __str__(self) -> str:
        if self.kind == "changed":
            return f"~ {self.path}: {self.field}: {self.before or '–'} -> {self.after or '–'}"
        return f"{'+' if self.kind == 'added' else '-'} {self.path}{self.after}{self.before}"


def diff(before: Plan, after: Plan) -> list[PlanChange]:
    """Return the differences in the order of the plans, ignoring ids.

    Identical elements of a repeated node are paired regardless of their position; the others are
    paired in order. The contents of an added or removed node are not listed.
    """
    fingerprints = _fingerprints(before.root) | _fingerprints(after.root)
    changes: list[PlanChange] = []
    waiting = [(before.root, after.root, before.root.name)]
    while waiting:
        old, new, path = waiting.pop()
        changes += _fields(old, new, path)
        changes += _limits(old, new, path)
        inner = []
        for one, other in _pairs(old, new, fingerprints):
            node = other or one
            assert node is not None
            place = f"{path} / {node.label}"
            if one is None:
                changes.append(PlanChange("added", place, after=_kind_of(node)))
            elif other is None:
                changes.append(PlanChange("removed", place, before=_kind_of(node)))
            elif fingerprints[id(one)] != fingerprints[id(other)]:
                inner.append((one, other, place))
        waiting += reversed(inner)
    return [change for change in changes if not _only_ids(change, before, after)]


def _only_ids(change: PlanChange, before: Plan, after: Plan) -> bool:
    """Return whether a value differs only in the request id that it contains."""
    old, new = before.chain.request_id, after.chain.request_id
    return (
        bool(old) and change.kind == "changed" and change.before.replace(old, new) == change.after
    )


def _pairs(
    old: PlanNode, new: PlanNode, fingerprints: dict[int, bytes]
) -> Iterator[tuple[PlanNode | None, PlanNode | None]]:
    before, after = _by_name(old), _by_name(new)
    for name in dict.fromkeys([*after, *before]):
        same_content: dict[bytes, deque[PlanNode]] = defaultdict(deque)
        for node in before.get(name, ()):
            same_content[fingerprints[id(node)]].append(node)
        unmatched = []
        for node in after.get(name, ()):
            candidates = same_content[fingerprints[id(node)]]
            if candidates:
                candidates.popleft()
            else:
                unmatched.append(node)
        unpaired = {id(node) for nodes in same_content.values() for node in nodes}
        rest = deque(node for node in before.get(name, ()) if id(node) in unpaired)
        for node in unmatched:
            yield (rest.popleft() if rest else None), node
        for node in rest:
            yield node, None


def _by_name(node: PlanNode) -> dict[str, list[PlanNode]]:
    groups: dict[str, list[PlanNode]] = {}
    for child in node.children:
        groups.setdefault(child.name, []).append(child)
    return groups


def _fields(old: PlanNode, new: PlanNode, path: str) -> Iterator[PlanChange]:
    one, other = _content(old), _content(new)
    for field in sorted(one.keys() | other.keys()):
        before, after = one.get(field, ""), other.get(field, "")
        if before != after:
            yield PlanChange("changed", path, field, before, after)


def _limits(old: PlanNode, new: PlanNode, path: str) -> Iterator[PlanChange]:
    """Yield changed limits of repeated nodes; a chain omits a limit that has no effect."""
    before = {node.name: node.parallel for node in old.children}
    after = {node.name: node.parallel for node in new.children}
    for name, other in after.items():
        one = before.get(name)
        if one and other and one != other:
            yield PlanChange("changed", f"{path} / {name}", "parallel", str(one), str(other))


def _content(node: PlanNode) -> dict[str, str]:
    content = {"kind": node.kind, "type": node.job.type if node.kind == "job" else ""}
    content |= {f"args.{name}": show_value(value) for name, value in node.args.items()}
    content["rules"] = "; ".join(rules(node.job))
    content["after"] = ", ".join(sorted(node.after))
    return content


def _kind_of(node: PlanNode) -> str:
    return f" ({node.job.type if node.kind == 'job' else node.kind})"


def _fingerprints(root: PlanNode) -> dict[int, bytes]:
    """Return the hash of each node and its contents by the node's `id()`."""
    order = [root]
    for node in order:
        order += node.children
    found: dict[int, bytes] = {}
    for node in reversed(order):
        digest = hashlib.sha256(repr((node.name, sorted(_content(node).items()))).encode())
        for child in node.children:
            digest.update(found[id(child)])
        found[id(node)] = digest.digest()
    return found
