"""The spec set that is in force, and its replacement while requests are served."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spincycle.spec.check import Severity
from spincycle.spec.loading import load_specs

if TYPE_CHECKING:
    from pathlib import Path

    from spincycle.spec.finding import Finding
    from spincycle.spec.spec_set import SpecSet


class SpecsUnusable(Exception):
    """The specs have errors, and there is no earlier set to go on with."""

    def __init__(self, directory: Path, findings: list[Finding]) -> None:
        self.directory = directory
        self.findings = findings
        first = next(finding for finding in findings if finding.severity is Severity.ERROR)
        super().__init__(f"specs in {directory} cannot be used: {first.place}: {first.text}")


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What came of reading the specs again.

    Attributes:
        specs: the set that is in force now.
        changed: whether it is another one than before.
        findings: about the files as they are now; with an error among them, the old set
            stays in force.
    """

    specs: SpecSet
    changed: bool
    findings: list[Finding]


class LiveSpecs:
    """Holds the spec set in force. A request keeps the set that it was begun with."""

    def __init__(self, directory: Path, job_types: frozenset[str] | None, specs: SpecSet) -> None:
        self._directory = directory
        self._job_types = job_types
        self._specs = specs
        self._one_at_a_time = asyncio.Lock()

    @property
    def current(self) -> SpecSet:
        """The set in force."""
        return self._specs

    async def reload(self) -> Reloaded:
        """Read the directory again; take the new set whole, or keep the old one."""
        async with self._one_at_a_time:
            result = await asyncio.to_thread(load_specs, self._directory, self._job_types)
            changed = result.specs is not None and result.specs.revision != self._specs.revision
            if result.specs is not None and changed:
                self._specs = result.specs
            return Reloaded(self._specs, changed, result.findings)


async def open_specs(
    directory: Path, job_types: frozenset[str] | None
) -> tuple[LiveSpecs, list[Finding]]:
    """Read a specs directory for the first time; the findings are warnings.

    Raises:
        SpecsUnusable: there is an error.
    """
    result = await asyncio.to_thread(load_specs, directory, job_types)
    if result.specs is None:
        raise SpecsUnusable(directory, result.findings)
    return LiveSpecs(directory, job_types, result.specs), result.findings
