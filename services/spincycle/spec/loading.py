"""Loads and checks spec files."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spincycle.spec.call_checks import JobTypeRule, check_call, check_job_type
from spincycle.spec.check import Severity
from spincycle.spec.finding import Finding, Report
from spincycle.spec.node_checks import check_node
from spincycle.spec.passing_checks import check_passing
from spincycle.spec.reader import read_file
from spincycle.spec.sequence_calls import check_calls
from spincycle.spec.sequence_checks import check_roles, check_sequence
from spincycle.spec.source import Source, find_sources, revision_of
from spincycle.spec.spec_set import NOOP_SEQUENCE, SpecSet
from spincycle.spec.template import build_template
from spincycle.spec.yaml_tree import collector_paused

if TYPE_CHECKING:
    from pathlib import Path

    from spincycle.spec.model import Sequence


@dataclass(frozen=True, slots=True)
class LoadResult:
    """Result of loading specs.

    Attributes:
        specs: None if there is an error.
        findings: by file, line and column.
        sources: text of each file by name, for excerpts.
        sequences: names of all sequences that were read, including invalid ones.
    """

    specs: SpecSet | None
    findings: list[Finding]
    sources: dict[str, str] = field(default_factory=dict)
    sequences: frozenset[str] = frozenset()


def load_specs(
    directory: Path,
    job_types: frozenset[str] | None = None,
    roles: frozenset[str] | None = None,
) -> LoadResult:
    """Read and check every *.yaml file below a directory; blocks, so call it on a thread.

    `job_types` are the registered job types; a job of another type is an error. `roles` are those
    that callers can have; others in ACLs are warned of. None skips the check.
    """
    report = Report()
    rule = None if job_types is None else JobTypeRule(job_types)
    return check_sources(find_sources(directory, report), rule, report, roles)


def check_sources(
    sources: list[Source],
    job_types: JobTypeRule | None = None,
    report: Report | None = None,
    roles: frozenset[str] | None = None,
) -> LoadResult:
    """Check files in memory; their order does not matter.

    `report` has the findings of reading them, `roles` are those that callers can have.
    """
    report = Report() if report is None else report
    with collector_paused():
        sources = sorted(sources, key=lambda source: source.file)
        sequences = _read(sources, report)
        if roles is not None:
            for sequence in sequences.values():
                check_roles(sequence, roles, report)
        specs: SpecSet | None = _check(sequences, revision_of(sources), job_types, report)
        findings = report.findings()
    if any(finding.severity is Severity.ERROR for finding in findings):
        specs = None
    texts = {source.file: source.text for source in sources}
    return LoadResult(specs, findings, texts, frozenset(sequences))


def _read(sources: list[Source], report: Report) -> dict[str, Sequence]:
    sequences: dict[str, Sequence] = {}
    for source in sources:
        for sequence in read_file(source.file, source.text, report):
            first = sequences.setdefault(sequence.name, sequence)
            if first is not sequence:
                report.on(
                    "duplicate-sequence",
                    sequence,
                    None,
                    "sequences",
                    f'sequence "{sequence.name}" is also declared in {first.file}',
                    at=sequence.at,
                    values=(sequence.name,),
                    advice="rename one of them",
                )
    if not sequences and not report.has_errors():
        report.add(
            "no-sequences",
            "no .yaml file declares a sequence",
            file=sources[0].file if len(sources) == 1 else "",
        )
    sequences.setdefault(NOOP_SEQUENCE.name, NOOP_SEQUENCE)
    return sequences


def _check(
    sequences: dict[str, Sequence],
    revision: str,
    job_types: JobTypeRule | None,
    report: Report,
) -> SpecSet:
    templates = {}
    for sequence in sequences.values():
        check_sequence(sequence, report)
        for node in sequence.nodes.values():
            check_node(sequence, node, report)
            check_passing(sequence, node, report)
            check_call(sequence, node, sequences, report)
            if job_types is not None:
                check_job_type(sequence, node, job_types, report)
        template = build_template(sequence, report)
        if template is not None:
            templates[sequence.name] = template
    check_calls(sequences, report)
    return SpecSet(revision, sequences, templates)
