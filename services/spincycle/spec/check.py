"""Catalogue of checks: code, severity, kind and meaning of each finding."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["invalid", "missing", "duplicate"]


class Severity(IntEnum):
    """Severity of a finding; the numbers are those of the protos."""

    WARNING = 1
    ERROR = 2

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        code: stable name, in findings and in the docs.
        kind: whether a value is invalid, missing or a duplicate.
        meaning: what triggers it.
    """

    code: str
    severity: Severity
    kind: Kind
    meaning: str


_TABLE = """
yaml-syntax            error   invalid   the file is not valid YAML
wrong-type             error   invalid   a field has a value of the wrong type
unknown-key            warning invalid   a key is unknown and ignored
duplicate-key          warning duplicate a key occurs twice; the last one counts
extra-document         warning invalid   the file has several YAML documents; only the first counts
truncated-number       warning invalid   a whole number has a fraction, which is truncated
unreadable-file        error   invalid   the file cannot be read
unreadable-directory   error   invalid   the specs directory cannot be read
no-sequences           warning missing   no spec file declares a sequence
duplicate-sequence     error   duplicate a sequence is also declared in another file
empty-entry            error   missing   a sequence, a node or a list entry has no content
duplicate-arg          error   duplicate a sequence declares an argument twice
required-arg-default   error   invalid   a required argument has a default
arg-unnamed            error   missing   an argument has no name
default-missing        error   missing   an optional or static argument has no default
default-invalid        error   invalid   a default violates the declared type or constraints
arg-type-invalid       error   invalid   an argument's type or constraint is invalid
no-nodes               error   missing   a sequence has no nodes
set-twice              warning duplicate a name is set twice, or is also an argument
acl-admin-and-ops      error   invalid   an ACL grants admin and lists operations
acl-role-missing       error   missing   an ACL has no role
acl-role-duplicate     error   duplicate two ACLs have the same role
acl-unknown-op         warning invalid   an ACL lists an unknown operation
acl-grants-nothing     warning missing   an ACL grants neither admin nor any operation
acl-unknown-role       warning invalid   an ACL has a role that no configuration mentions
request-only           warning invalid   a sequence that is not a request has a field of requests
unused-arg             warning invalid   no node uses an argument
unused-set             warning invalid   nothing uses what a node sets
each-invalid           error   invalid   an each entry does not have the form list:element
each-element-duplicate error   duplicate two each entries have the same element
each-element-expected  error   duplicate an each element is also an expected argument
each-list-twice        warning duplicate two each entries have the same list
each-list-given        warning duplicate a list is in each and is also passed as a whole
expected-missing       error   missing   an args entry has no expected
expected-duplicate     error   duplicate a node passes the same argument twice
given-twice            warning duplicate a node passes one value as two arguments
sets-arg-missing       error   missing   a sets entry has no arg
sets-as-duplicate      error   duplicate a node sets the same name twice
sets-arg-twice         warning duplicate a node sets one argument under two names
sets-last-element      warning invalid   a node with each sets only the last element's value
collect-without-each   error   invalid   a node has collect but no each
parallel-invalid       error   invalid   parallel is less than 1
parallel-without-each  error   missing   a node has parallel but no each
category-missing       error   missing   a node has no category
category-unknown       error   invalid   a category is not job, sequence or conditional
type-missing           error   missing   a job or sequence node has no type
type-on-conditional    error   invalid   a conditional node has a type
if-missing             error   missing   a conditional node has no if
if-on-other            error   invalid   a node that is not conditional has an if
eq-missing             error   missing   a conditional node has no eq
eq-on-other            error   invalid   a node that is not conditional has an eq
unreachable-branch     warning invalid   a branch can never be taken
no-branch              warning missing   a possible value of the argument has no branch
retry-wait-no-retry    error   missing   a node has retryWait but no retry
backoff-no-retry       error   missing   a node has backoff but no retry
retry-never-applies    warning invalid   a node with retry never fails
backoff-never-applies  warning invalid   a backoff does not change any wait
duration-invalid       error   invalid   a duration is invalid or too short
backoff-invalid        error   invalid   a backoff's factor, limit or jitter is out of range
interruption-invalid   error   invalid   interruption is not run-again or fail, or not on a job
max-running-invalid    error   invalid   max_running is less than 1
unknown-sequence       error   invalid   a node calls a sequence that does not exist
unknown-job-type       error   invalid   a job type is not registered
required-arg-missing   error   missing   a required argument of a called sequence is not passed
extra-arg              warning invalid   a node passes an argument that no called sequence has
unknown-dep            error   invalid   a node depends on a node that does not exist
dependency-cycle       error   invalid   nodes depend on each other in a cycle
arg-not-set            error   missing   a node uses an argument that is not set before it
sequence-failed        error   invalid   a node calls a sequence that has errors
sequence-cycle         error   invalid   sequences call each other in a cycle
sets-not-guaranteed    error   missing   a node sets an argument that a called sequence may not set
emptied-specs          error   missing   a reload would empty a file or the whole set
too-many-findings      warning invalid   a call returns only some of the findings
"""


def _parse(line: str) -> Check:
    code, severity, kind, meaning = line.split(maxsplit=3)
    kinds: dict[str, Kind] = {
        "invalid": "invalid",
        "missing": "missing",
        "duplicate": "duplicate",
    }
    return Check(code, Severity[severity.upper()], kinds[kind], meaning)


CHECKS = {check.code: check for check in map(_parse, _TABLE.strip().splitlines())}
"""Every check by its code, in the order in which the docs list them."""
