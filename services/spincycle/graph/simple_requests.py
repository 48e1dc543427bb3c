"""Requests so small and simple that building their chains holds nobody up."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from spincycle.model.job_chain import Value
    from spincycle.spec.model import Sequence
    from spincycle.spec.spec_set import SpecSet

MOST_NODES = 50
"""Most nodes of such a request, those of sequences within it counted each time."""

_SCALARS = (str, int, float, type(None))


class SimpleRequests:
    """Finds them, and remembers what it found for the specs that it saw last.

    In such a request no node is repeated, no job's create needs a thread, and no sequence within
    it has an argument with a pattern, which a long text would take long to match.

    Args:
        creates_immediately: whether jobs of a type are made, created and serialized without
            waiting and in no time.
    """

    def __init__(self, creates_immediately: Callable[[str], bool]) -> None:
        self._creates_immediately = creates_immediately
        self._revision = ""
        self._found: dict[str, bool] = {}

    def has(self, specs: SpecSet, request_type: str, values: Iterable[Value]) -> bool:
        """Whether a request of a known type is one of them with these arguments."""
        if specs.revision != self._revision:
            self._revision = specs.revision
            self._found.clear()
        simple = self._found.get(request_type)
        if simple is None:
            simple = self._found[request_type] = self._is_simple(specs, request_type)
        # Each job gets a copy of its arguments, and a list may be long.
        return simple and all(isinstance(value, _SCALARS) for value in values)

    def _is_simple(self, specs: SpecSet, request_type: str) -> bool:
        seen = 0
        waiting = [request_type]
        while waiting:
            for node in specs.sequences[waiting.pop()].nodes.values():
                seen += 1
                if seen > MOST_NODES or node.each is not None:
                    return False
                if node.category == "job" and not self._creates_immediately(node.type):
                    return False
                waiting += node.calls()
                if any(_has_pattern(specs.sequences[name]) for name in node.calls()):
                    return False
        return True


def _has_pattern(sequence: Sequence) -> bool:
    return any(arg.type.pattern for arg in sequence.args.all())
