"""Checks spec files outside of the request manager."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from spincycle.spec.check import Severity
from spincycle.spec.finding import Finding, Report
from spincycle.spec.loading import check_sources
from spincycle.spec.source import Source, find_sources, read_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from spincycle.spec.call_checks import JobTypeRule


@dataclass(frozen=True, slots=True)
class LintResult:
    """Result of the linter.

    Attributes:
        findings: findings to show, by file, line and column.
        hidden: number of findings that are not shown.
        failed: whether there is an error, shown or not.
        sources: text of each file by name.
        revision: content hash of the files; None if there is an error.
        unknown: requested sequences that do not exist.
    """

    findings: list[Finding]
    hidden: int
    failed: bool
    sources: Mapping[str, str]
    revision: str | None
    unknown: list[str]


def lint(
    paths: Iterable[Path],
    job_types: JobTypeRule | None = None,
    *,
    roles: frozenset[str] | None = None,
    strict: bool = False,
    sequences: frozenset[str] = frozenset(),
) -> LintResult:
    """Check directories and files as one set of specs.

    `roles` are those that callers can have; None if that is not known. With `strict` warnings count
    as errors. With `sequences` only findings in those are shown; an error elsewhere still fails the
    check, because the specs cannot be loaded.
    """
    report = Report()
    sources: list[Source] = []
    for path in paths:
        if path.is_dir():
            sources += find_sources(path, report, prefix=path)
        else:
            sources += read_source(path, str(path), report)
    loaded = check_sources(_once(sources), job_types, report, roles)
    findings = [_as_lint(finding) for finding in loaded.findings]
    shown = [f for f in findings if not sequences or not f.sequence or f.sequence in sequences]
    worst = Severity.WARNING if strict else Severity.ERROR
    return LintResult(
        findings=shown,
        hidden=len(findings) - len(shown),
        failed=any(finding.severity >= worst for finding in findings),
        sources=loaded.sources,
        revision=loaded.specs.revision if loaded.specs else None,
        unknown=sorted(sequences - set(loaded.sequences)),
    )


def _once(sources: Iterable[Source]) -> list[Source]:
    """Return each file once, even if it is named and also in a named directory."""
    return list({source.file: source for source in sources}.values())


def _as_lint(finding: Finding) -> Finding:
    # A server without requests may be intended; linting nothing is a mistake.
    if finding.code == "no-sequences":
        return replace(finding, severity=Severity.ERROR)
    return finding
