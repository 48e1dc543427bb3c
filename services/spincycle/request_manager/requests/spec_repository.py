"""Loads and reloads the request specs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from spincycle.runtime.config import ConfigError
from spincycle.spec import Finding, LoadResult, Severity, SpecSet, fingerprint_of, load_specs
from spincycle.spec.finding import Report
from spincycle.spec.model import BUILT_IN

Fingerprint = tuple[tuple[str, int, int, int], ...]
"""Names and metadata of the spec files, as `fingerprint_of` returns them."""


KnownRoles = Callable[[], frozenset[str] | None]
"""Returns the roles that callers can have; None if that is not known."""


@dataclass(frozen=True, slots=True)
class Reloaded:
    """Result of a reload."""

    revision: str
    changed: bool
    findings: list[Finding]


class SpecRepository:
    """Holds the current specs; invalid or emptied specs never replace valid ones.

    Attributes:
        roles: returns the roles that callers can have; None if that is not known.
    """

    def __init__(
        self,
        directory: Path,
        job_types: frozenset[str],
        specs: SpecSet,
        fingerprint: Fingerprint,
        roles: KnownRoles = lambda: None,
        *,
        allow_empty: bool = False,
    ) -> None:
        self._directory = directory
        self._job_types = job_types
        self._specs = specs
        self._fingerprint = fingerprint
        self.roles = roles
        self._allow_empty = allow_empty
        self._loading = asyncio.Lock()

    @classmethod
    async def open(
        cls,
        directory: Path,
        job_types: frozenset[str],
        roles: KnownRoles = lambda: None,
        *,
        allow_empty: bool = False,
    ) -> SpecRepository:
        """Load the specs for the first time.

        `roles` returns the roles that callers can have; None if that is not known.

        Raises:
            ConfigError: the specs are invalid; it names every error.
        """
        fingerprint, result = await asyncio.to_thread(_read, directory, job_types, roles())
        _log(result.findings)
        if result.specs is None:
            errors = [
                f"{found.place}: {found.text}"
                for found in result.findings
                if found.severity is Severity.ERROR
            ]
            raise ConfigError("the specs are invalid:\n" + "\n".join(errors))
        structlog.get_logger().info(
            "specs loaded",
            directory=str(directory),
            revision=result.specs.revision,
            requests=len(result.specs.requests()),
        )
        return cls(directory, job_types, result.specs, fingerprint, roles, allow_empty=allow_empty)

    @property
    def specs(self) -> SpecSet:
        """The current specs."""
        return self._specs

    @property
    def job_types(self) -> frozenset[str]:
        """Job types that specs may use."""
        return self._job_types

    async def reload(self) -> Reloaded:
        """Load the specs again; if they have errors, the current ones are kept."""
        async with self._loading:
            self._fingerprint, result = await asyncio.to_thread(
                _read, self._directory, self._job_types, self.roles()
            )
            if not self._allow_empty:
                result = _refuse_emptied(self._specs, result)
            old = self._specs.revision
            if result.specs is not None:
                self._specs = result.specs
        _log(result.findings)
        structlog.get_logger().info(
            "specs reloaded" if result.specs else "specs kept",
            revision=self._specs.revision,
            findings=len(result.findings),
        )
        return Reloaded(self._specs.revision, self._specs.revision != old, result.findings)

    async def reload_on_change(self, interval: float) -> None:
        """Check for changed files every `interval` seconds, and reload them; never returns.

        An incomplete change keeps the current specs, and is detected again when it is complete.
        """
        while True:
            await asyncio.sleep(interval)
            if await asyncio.to_thread(fingerprint_of, self._directory) != self._fingerprint:
                await self.reload()


def _read(
    directory: Path, job_types: frozenset[str], roles: frozenset[str] | None
) -> tuple[Fingerprint, LoadResult]:
    # In this order: a change during the loading is then detected by the next comparison.
    fingerprint = fingerprint_of(directory)
    return fingerprint, load_specs(directory, job_types, roles)


def _refuse_emptied(old: SpecSet, loaded: LoadResult) -> LoadResult:
    """Return the result with an error instead of specs if files lost all their sequences.

    Editors and copies truncate a file before they write it. A missing file was removed on
    purpose, unless no other file remains.
    """
    if loaded.specs is None:
        return loaded
    before, after = _files(old), _files(loaded.specs)
    emptied = sorted((before - after) & loaded.sources.keys())
    if before and not after:
        emptied = emptied or [""]
    if not emptied:
        return loaded
    report = Report()
    for file in emptied:
        report.add(
            "emptied-specs",
            "the file no longer declares a sequence" if file else "there are no spec files",
            file=file,
            advice="remove the file if this is intended; specs without any sequence need "
            "allow_empty_specs: true",
        )
    return replace(loaded, specs=None, findings=[*loaded.findings, *report.findings()])


def _files(specs: SpecSet) -> set[str]:
    return {sequence.file for sequence in specs.sequences.values()} - {BUILT_IN}


def _log(findings: list[Finding]) -> None:
    log = structlog.get_logger()
    for found in findings:
        level = log.error if found.severity is Severity.ERROR else log.warning
        level("spec finding", code=found.code, place=found.place, finding=found.text)
