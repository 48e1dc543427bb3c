"""The catalogue of checks: each finding's stable code, its severity and what it means."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["invalid", "missing", "duplicate"]


class Severity(IntEnum):
    """How bad a finding is; the numbers are those of the protos."""

    WARNING = 1
    ERROR = 2

    def __str__(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that is looked for.

    Attributes:
        code: stable name, in findings and in the docs.
        kind: whether a value is wrong, absent, or there twice.
        meaning: one sentence on what triggers it.
    """

    code: str
    severity: Severity
    kind: Kind
    meaning: str


_TABLE = """
yaml-syntax            error   invalid   the file is not YAML
wrong-type             error   invalid   a field holds another type than it should
unknown-key            warning invalid   a key that means nothing here; it is ignored
duplicate-key          warning duplicate a key is given twice; the last one counts
extra-document         warning invalid   the file has several YAML documents; only the first counts
truncated-number       warning invalid   a whole number is written with a fraction, which is cut off
unreadable-file        error   invalid   the file cannot be read
unreadable-directory   error   invalid   the specs directory cannot be walked
no-sequences           warning missing   there is no spec file, or none declares a sequence
duplicate-sequence     error   duplicate a sequence is declared in another file too
empty-entry            error   missing   a sequence, a node or a list entry has no content
duplicate-arg          error   duplicate an argument name occurs twice in one sequence
required-arg-default   error   invalid   a required argument has a default
arg-unnamed            error   missing   an argument has no name
default-missing        error   missing   an optional or static argument has no default
default-invalid        error   invalid   a default breaks the declared type or constraints
arg-type-invalid       error   invalid   an argument's type or constraint makes no sense
no-nodes               error   missing   a sequence has no nodes
set-twice              warning duplicate a name is set twice, or is an argument too
acl-admin-and-ops      error   invalid   an ACL grants everything and lists operations as well
acl-role-missing       error   missing   an ACL names no role
acl-role-duplicate     error   duplicate two ACLs name the same role
acl-unknown-op         warning invalid   an ACL lists an operation that does not exist
acl-grants-nothing     warning missing   an ACL grants neither everything nor any operation
acl-not-enforced       warning invalid   a request has ACLs, which do not restrict any caller yet
request-only           warning invalid   a field that only a request has stands in another sequence
unused-arg             warning invalid   no node uses an argument
unused-set             warning invalid   nothing uses what a node sets
each-invalid           error   invalid   an each entry is not of the form list:element
each-element-duplicate error   duplicate two each entries name the same element
each-element-expected  error   duplicate an each element is also an expected argument
each-list-twice        warning duplicate one list is repeated over under two element names
each-list-given        warning duplicate a list is repeated over and passed as a whole
expected-missing       error   missing   an args entry does not say which argument it passes
expected-duplicate     error   duplicate a node passes the same argument twice
given-twice            warning duplicate one value is passed as two arguments
sets-arg-missing       error   missing   a sets entry does not say which argument it takes
sets-as-duplicate      error   duplicate a node sets the same name twice
sets-arg-twice         warning duplicate a node sets one argument under two names
sets-last-element      warning invalid   of a repeated node the last element's value counts
collect-without-each   error   invalid   collect is given but the node is not repeated
parallel-invalid       error   invalid   parallel is not at least 1
parallel-without-each  error   missing   parallel is given but the node is not repeated
category-missing       error   missing   a node has no category
category-unknown       error   invalid   a category is none of job, sequence and conditional
type-missing           error   missing   a job or sequence node has no type
type-on-conditional    error   invalid   a conditional node has a type
if-missing             error   missing   a conditional node has no if
if-on-other            error   invalid   a node that is not conditional has an if
eq-missing             error   missing   a conditional node has no eq
eq-on-other            error   invalid   a node that is not conditional has an eq
unreachable-branch     warning invalid   a branch can never be taken
no-branch              warning missing   a value that the argument can take has no branch
retry-wait-no-retry    error   missing   retryWait is given but retry is not
backoff-no-retry       error   missing   backoff is given but retry is not
retry-never-applies    warning invalid   what is retried never fails
backoff-never-applies  warning invalid   a backoff that changes no wait
duration-invalid       error   invalid   a duration cannot be read, or is too short
backoff-invalid        error   invalid   a backoff's factor, limit or jitter is out of range
interruption-invalid   error   invalid   interruption is not run-again or fail, or no job has it
max-running-invalid    error   invalid   max_running is not at least 1
unknown-sequence       error   invalid   a node calls a sequence that does not exist
unknown-job-type       error   invalid   no job factory knows a job type
required-arg-missing   error   missing   a required argument of a called sequence is not passed
extra-arg              warning invalid   a node passes an argument that no called sequence takes
unknown-dep            error   invalid   a node depends on a node that does not exist
dependency-cycle       error   invalid   nodes depend on each other in a circle
arg-not-set            error   missing   a node uses an argument that nothing before it sets
sequence-failed        error   invalid   a node calls a sequence that has errors
sequence-cycle         error   invalid   sequences call each other in a circle
sets-not-guaranteed    error   missing   a node takes an argument that a called sequence may not set
emptied-specs          error   missing   a reload would empty a file or the whole set
too-many-findings      warning invalid   there are more findings than a call returns
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
