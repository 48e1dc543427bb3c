"""The spec set in force, and putting another one in its place."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from spincycle.runtime.config import ConfigError
from spincycle.spec import Finding, LoadResult, Severity, SpecSet, load_specs, look_of
from spincycle.spec.finding import Report
from spincycle.spec.model import BUILT_IN
from spincycle.spec.sequence_checks import NOT_ENFORCED

Look = tuple[tuple[str, int, int, int], ...]
"""What `look_of` answers."""


@dataclass(frozen=True, slots=True)
class Reloaded:
    """What came of reading the specs again."""

    revision: str
    changed: bool
    findings: list[Finding]


class SpecRepository:
    """Holds the specs; a broken or emptied set never replaces a good one."""

    def __init__(
        self,
        directory: Path,
        job_types: frozenset[str],
        specs: SpecSet,
        look: Look,
        *,
        allow_empty: bool = False,
    ) -> None:
        self._directory = directory
        self._job_types = job_types
        self._specs = specs
        self._look = look
        self._allow_empty = allow_empty
        self._loading = asyncio.Lock()

    @classmethod
    async def open(
        cls, directory: Path, job_types: frozenset[str], *, allow_empty: bool = False
    ) -> SpecRepository:
        """Read the specs for the first time.

        Raises:
            ConfigError: they cannot be used; every finding is named.
        """
        look, result = await asyncio.to_thread(_read, directory, job_types)
        _log(result.findings)
        if result.specs is None:
            errors = [
                f"{found.place}: {found.text}"
                for found in result.findings
                if found.severity is Severity.ERROR
            ]
            raise ConfigError("the specs cannot be used:\n" + "\n".join(errors))
        structlog.get_logger().info(
            "specs loaded",
            directory=str(directory),
            revision=result.specs.revision,
            requests=len(result.specs.requests()),
        )
        _log_acls(result.specs)
        return cls(directory, job_types, result.specs, look, allow_empty=allow_empty)

    @property
    def specs(self) -> SpecSet:
        """The set in force."""
        return self._specs

    @property
    def job_types(self) -> frozenset[str]:
        """Job types that specs may name."""
        return self._job_types

    async def reload(self) -> Reloaded:
        """Read the specs again; with an error among the findings the old set stays in force."""
        async with self._loading:
            self._look, result = await asyncio.to_thread(_read, self._directory, self._job_types)
            if not self._allow_empty:
                result = _refuse_emptied(self._specs, result)
            old = self._specs.revision
            if result.specs is not None:
                self._specs = result.specs
                _log_acls(result.specs)
        _log(result.findings)
        structlog.get_logger().info(
            "specs reloaded" if result.specs else "specs kept",
            revision=self._specs.revision,
            findings=len(result.findings),
        )
        return Reloaded(self._specs.revision, self._specs.revision != old, result.findings)

    async def reload_at_changes(self, interval: float) -> None:
        """Look every `interval` seconds whether files changed, and read them then; never ends.

        A change that is not complete when it is seen leaves the old set in force, and is seen
        again when it is.
        """
        while True:
            await asyncio.sleep(interval)
            if await asyncio.to_thread(look_of, self._directory) != self._look:
                await self.reload()


def _read(directory: Path, job_types: frozenset[str]) -> tuple[Look, LoadResult]:
    # In this order: what changes while the files are read is then seen at the next look.
    look = look_of(directory)
    return look, load_specs(directory, job_types)


def _refuse_emptied(old: SpecSet, loaded: LoadResult) -> LoadResult:
    """The result without its specs, and with a finding, if they lack what an edit rarely removes.

    Editors and copies truncate a file before they write it. A file that is gone was removed on
    purpose, unless no other is left.
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
            "the file declares no sequence any more" if file else "no spec file is left",
            file=file,
            advice="remove the file if this is meant; a set without any sequence needs "
            "allow_empty_specs: true",
        )
    return replace(loaded, specs=None, findings=[*loaded.findings, *report.findings()])


def _files(specs: SpecSet) -> set[str]:
    return {sequence.file for sequence in specs.sequences.values()} - {BUILT_IN}


def _log(findings: list[Finding]) -> None:
    log = structlog.get_logger()
    for found in findings:
        if found.code == NOT_ENFORCED:
            # One line names all of these; see _log_acls.
            continue
        level = log.error if found.severity is Severity.ERROR else log.warning
        level("spec finding", code=found.code, place=found.place, finding=found.text)


def _log_acls(specs: SpecSet) -> None:
    """Log which requests have ACLs, since any caller may start and stop them all the same."""
    requests = [sequence.name for sequence in specs.requests() if sequence.acl]
    if requests:
        structlog.get_logger().warning("acl not enforced", requests=requests)
