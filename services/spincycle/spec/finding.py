"""Findings of the checks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from spincycle.spec.check import CHECKS, Kind, Severity
from spincycle.spec.model import NOWHERE, Position
from spincycle.text.nearest import did_you_mean
from spincycle.text.shortening import shortened

if TYPE_CHECKING:
    from collections.abc import Iterable

    from spincycle.spec.model import Node, Sequence

MOST_FINDINGS = 1000
"""Maximum findings that a call returns."""

_MOST_BYTES = 1024 * 1024
_MOST_VALUES = 100
_LONGEST_TEXT = 1000
_SUGGESTIONS = 300


@dataclass(frozen=True, slots=True)
class Finding:
    """One error or warning about the specs.

    Attributes:
        code: name of the check, a key of CHECKS.
        file: path as passed to the loader, or relative to the specs directory.
        line: from 1; 0 if it concerns the whole file.
        column: from 1; 0 if it concerns the whole file.
        end: column after the last character of the offending text.
        field: for example "args.required.name"; empty if it does not concern a field.
        values: the offending values.
        message: what is wrong, without a full stop.
        advice: what to do; empty if the message implies it.
    """

    code: str
    severity: Severity
    file: str
    line: int
    column: int
    end: int
    sequence: str
    node: str
    field: str
    values: tuple[str, ...]
    message: str
    advice: str = ""

    @property
    def kind(self) -> Kind:
        """Whether a value is invalid, missing or a duplicate."""
        return CHECKS[self.code].kind

    @property
    def text(self) -> str:
        """Message and advice in one sentence."""
        return f"{self.message}; {self.advice}" if self.advice else self.message

    @property
    def place(self) -> str:
        """file:line:column, or only the file."""
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file

    def sort_key(self) -> tuple[object, ...]:
        """Return the key that sorts by file, line and column, then errors first."""
        return (
            self.file,
            self.line,
            self.column,
            -self.severity,
            self.code,
            self.sequence,
            self.node,
            self.field,
            self.values,
            self.message,
        )


class Report:
    """Collects findings."""

    def __init__(self) -> None:
        self._findings: list[Finding] = []
        self._failed: set[str] = set()
        self._suggested = 0

    def add(
        self,
        code: str,
        message: str,
        *,
        file: str,
        at: Position | None = None,
        sequence: str = "",
        node: str = "",
        field: str = "",
        values: tuple[str, ...] = (),
        advice: str = "",
        severity: Severity | None = None,
    ) -> None:
        """Add a finding; without `at` it concerns the whole file."""
        line, column, end = at or (0, 0, 0)
        severity = CHECKS[code].severity if severity is None else severity
        if severity is Severity.ERROR and sequence:
            self._failed.add(sequence)
        found = Finding(
            code=code,
            severity=severity,
            file=file,
            line=line,
            column=column,
            end=end,
            sequence=sequence,
            node=node,
            field=field,
            values=values,
            message=message,
            advice=advice,
        )
        self._findings.append(found)

    def on(
        self,
        code: str,
        sequence: Sequence,
        node: Node | None,
        field: str,
        message: str,
        *,
        at: Position | None = None,
        values: tuple[str, ...] = (),
        advice: str = "",
        severity: Severity | None = None,
    ) -> None:
        """Add a finding about a field of a sequence or of one of its nodes."""
        where = at or (node or sequence).where(field)
        self.add(
            code,
            message,
            file=sequence.file,
            at=None if where is NOWHERE else where,
            sequence=sequence.name,
            node=node.name if node else "",
            field=field,
            values=values,
            advice=advice,
            severity=severity,
        )

    def did_you_mean(self, name: str, known: Iterable[str]) -> str:
        """Suggest a known name as spincycle.text.nearest does, for the first few hundred names.

        More suggestions would take more time than all the checks.
        """
        self._suggested += 1
        return did_you_mean(name, known) if self._suggested <= _SUGGESTIONS else ""

    def has_errors(self) -> bool:
        """Return whether there is an error."""
        return any(finding.severity is Severity.ERROR for finding in self._findings)

    def failed(self, sequence: str) -> bool:
        """Return whether there is an error in the sequence."""
        return sequence in self._failed

    def findings(self) -> list[Finding]:
        """Return all findings, sorted independently of the order in which they were added."""
        return sorted(self._findings, key=Finding.sort_key)


def bounded(findings: list[Finding]) -> list[Finding]:
    """Return the findings that fit into a response, with long texts shortened.

    Errors are kept before warnings. If some do not fit, the last finding has their number.
    """
    kept: list[Finding] = []
    size = 0
    errors_first = sorted(findings, key=lambda finding: -finding.severity)
    for finding in errors_first:
        short = _shortened(finding)
        size += len(short.message) + len(short.advice) + sum(map(len, short.values))
        if len(kept) == MOST_FINDINGS or size > _MOST_BYTES:
            break
        kept.append(short)
    kept.sort(key=Finding.sort_key)
    omitted = errors_first[len(kept) :]
    if omitted:
        first = omitted[0]
        kept.append(
            Finding(
                code="too-many-findings",
                severity=first.severity,
                file=shortened(first.file, _LONGEST_TEXT),
                line=0,
                column=0,
                end=0,
                sequence="",
                node="",
                field="",
                values=(),
                message=f"{len(omitted)} more findings are not listed",
                advice="correct the others first",
            )
        )
    return kept


def _shortened(finding: Finding) -> Finding:
    values = finding.values
    if len(values) > _MOST_VALUES:
        values = (*values[:_MOST_VALUES], f"{len(values) - _MOST_VALUES} more")
    return replace(
        finding,
        file=shortened(finding.file, _LONGEST_TEXT),
        sequence=shortened(finding.sequence, _LONGEST_TEXT),
        node=shortened(finding.node, _LONGEST_TEXT),
        field=shortened(finding.field, _LONGEST_TEXT),
        values=tuple(shortened(value, _LONGEST_TEXT) for value in values),
        message=shortened(finding.message, _LONGEST_TEXT),
        advice=shortened(finding.advice, _LONGEST_TEXT),
    )
