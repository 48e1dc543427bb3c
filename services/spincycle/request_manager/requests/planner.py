"""Planning of requests: from type and arguments to a chain."""

from __future__ import annotations

from spincycle.graph import Expander
from spincycle.model.job_chain import Value
from spincycle.request_manager.requests.create import BuiltRequest
from spincycle.request_manager.requests.spec_repository import SpecRepository


class SpecPlanner:
    """Builds chains from the current specs."""

    def __init__(self, specs: SpecRepository, expander: Expander) -> None:
        self._specs = specs
        self._expander = expander

    async def build(self, type_: str, args: dict[str, Value], request_id: str) -> BuiltRequest:
        """Return the chain of a request; raises as `Expander.expand`."""
        specs = self._specs.specs
        expansion = await self._expander.expand(specs, type_, args, request_id)
        return BuiltRequest(
            chain=expansion.chain,
            args=expansion.args,
            plan_hash=expansion.plan_hash,
            spec_revision=specs.revision,
            max_running=specs.sequences[type_].max_running,
        )
