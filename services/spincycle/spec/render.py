"""Formats findings as text, as JSON, and as GitHub workflow commands."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING

import orjson

from spincycle.spec.check import Severity

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from spincycle.spec.finding import Finding

_WIDEST = 100
_RED, _YELLOW, _BLUE, _BOLD, _PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[34m", "\x1b[1m", "\x1b[0m"


def human(
    findings: Sequence[Finding], sources: Mapping[str, str], *, color: bool = False
) -> Iterator[str]:
    """Yield the lines of a text: each finding with its source line and carets."""
    lines = {file: text.splitlines() for file, text in sources.items()}
    for finding in findings:
        yield _head(finding, color=color)
        text = lines.get(finding.file, [])
        if 0 < finding.line <= len(text):
            yield from _excerpt(finding, text[finding.line - 1], color=color)
        else:
            yield f"      = {finding.text}"
        yield ""


def summary(findings: Sequence[Finding], files: int) -> str:
    """Return one line with the numbers of errors, warnings and files."""
    errors = sum(finding.severity is Severity.ERROR for finding in findings)
    warnings = len(findings) - errors
    counted = [_count(errors, "error"), _count(warnings, "warning")]
    found = ", ".join(part for part in counted if part) or "nothing to report"
    return f"{found} in {_count(files, 'file') or 'no file'}"


def as_json(findings: Sequence[Finding], revision: str | None) -> str:
    """Return a JSON object with all findings; `revision` is null if there is an error."""
    errors = sum(finding.severity is Severity.ERROR for finding in findings)
    body = {
        "findings": [
            {
                "code": finding.code,
                "severity": str(finding.severity),
                "file": finding.file,
                "line": finding.line,
                "column": finding.column,
                "endColumn": finding.end,
                "sequence": finding.sequence,
                "node": finding.node,
                "field": finding.field,
                "values": list(finding.values),
                "message": finding.text,
            }
            for finding in findings
        ],
        "errors": errors,
        "warnings": len(findings) - errors,
        "revision": revision,
    }
    return orjson.dumps(body, option=orjson.OPT_INDENT_2).decode()


def github(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield workflow commands, which GitHub shows next to the line."""
    for finding in findings:
        place = f"file={_property(finding.file)}"
        if finding.line:
            place += f",line={finding.line},col={finding.column},endColumn={finding.end}"
        where = " / ".join(part for part in (finding.sequence, finding.node) if part)
        message = f"{where}: {finding.text}" if where else finding.text
        title = _property(finding.code)
        yield f"::{finding.severity} {place},title={title}::{_escaped(message)}"


def _head(finding: Finding, *, color: bool) -> str:
    level = f"{finding.severity}[{finding.code}]"
    where = " / ".join(part for part in (finding.sequence, finding.node) if part)
    place = _printable(finding.place)
    if color:
        level = f"{_BOLD}{_tint(finding)}{level}{_PLAIN}"
        place = f"{_BOLD}{place}{_PLAIN}"
    return f"{level} {place}  {_printable(where)}".rstrip()


def _excerpt(finding: Finding, line: str, *, color: bool) -> Iterator[str]:
    start = max(0, finding.column - 1 - _WIDEST // 2) if finding.column > _WIDEST else 0
    shown = _printable(line[start : start + _WIDEST])
    before = shown[: finding.column - 1 - start]
    marked = shown[len(before) : finding.end - 1 - start]
    carets = "^" * max(1, _width(marked))
    bar = f"{_BLUE}|{_PLAIN}" if color else "|"
    hint = f"{_tint(finding)}{carets}{_PLAIN}" if color else carets
    yield f"{finding.line:>5} {bar} {shown}"
    yield f"      {bar} {' ' * _width(before)}{hint} {_printable(finding.text)}"


def _tint(finding: Finding) -> str:
    return _RED if finding.severity is Severity.ERROR else _YELLOW


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def _width(text: str) -> int:
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1
        for c in text
    )


def _count(number: int, noun: str) -> str:
    if not number:
        return ""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")
