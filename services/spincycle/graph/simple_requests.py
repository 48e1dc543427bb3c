"""Detects requests whose chains can be built on the event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from spincycle.model.job_chain import Value
    from spincycle.spec.model import Sequence
    from spincycle.spec.spec_set import SpecSet

MAX_NODES = 50
"""Maximum nodes of a simple request, counting those of called sequences at each call."""

_SCALARS = (str, int, float, type(None))


class SimpleRequests:
    """Detects simple requests; caches the results for the latest spec revision.

    A simple request has no repeated node, no job whose `create` needs a thread, and calls no
    sequence that has an argument with a pattern, since matching a long string takes time.

    Args:
        creates_immediately: returns whether jobs of a type are created and serialized without
            blocking.
    """

    def __init__(self, creates_immediately: Callable[[str], bool]) -> None:
        self._creates_immediately = creates_immediately
        self._revision = ""
        self._results: dict[str, bool] = {}

    def contains(self, specs: SpecSet, request_type: str, values: Iterable[Value]) -> bool:
        """Return whether a request of a known type is simple with these arguments."""
        if specs.revision != self._revision:
            self._revision = specs.revision
            self._results.clear()
        simple = self._results.get(request_type)
        if simple is None:
            simple = self._results[request_type] = self._is_simple(specs, request_type)
        # Each job copies its arguments, and a list may be long.
        return simple and all(isinstance(value, _SCALARS) for value in values)

    def _is_simple(self, specs: SpecSet, request_type: str) -> bool:
        nodes = 0
        waiting = [request_type]
        while waiting:
            for node in specs.sequences[waiting.pop()].nodes.values():
                nodes += 1
                if nodes > MAX_NODES or node.each is not None:
                    return False
                if node.category == "job" and not self._creates_immediately(node.type):
                    return False
                waiting += node.calls()
                if any(_has_pattern(specs.sequences[name]) for name in node.calls()):
                    return False
        return True


def _has_pattern(sequence: Sequence) -> bool:
    return any(arg.type.pattern for arg in sequence.args.all())
