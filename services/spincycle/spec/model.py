"""Data model of the spec language, with the position of each element."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spincycle.model.job_chain import BackoffPolicy, Value
    from spincycle.spec.arg_type import ArgType

ArgKind: TypeAlias = Literal["required", "optional", "static"]
Interruption: TypeAlias = Literal["", "run-again", "fail"]

BUILT_IN = "<built in>"
"""File name of the built-in sequences."""


class Position(NamedTuple):
    """A place in a spec file.

    Attributes:
        line: from 1.
        column: from 1, in characters.
        end: column after the last character of the text on that line.
    """

    line: int
    column: int
    end: int


NOWHERE = Position(1, 1, 2)
"""Position of elements that are not in a file."""


@dataclass(frozen=True, slots=True)
class Arg:
    """One declared argument of a sequence.

    Attributes:
        pos: index within its own list, from 0.
        default: default of the declared type; the literal text if no type is declared. None
            unless `has_default`.
        type: declared type and constraints.
        secret: whether the value is stored but never shown.
        marks: positions of the fields in the file.
    """

    name: str
    kind: ArgKind
    pos: int
    desc: str
    default: Value
    has_default: bool
    type: ArgType
    secret: bool
    at: Position
    marks: Mapping[str, Position]

    @property
    def value_type(self) -> str:
        """Declared type; empty if none is declared."""
        return self.type.name


@dataclass(frozen=True, slots=True)
class Args:
    """The arguments of a sequence, each list in the order of the file."""

    required: tuple[Arg, ...] = ()
    optional: tuple[Arg, ...] = ()
    static: tuple[Arg, ...] = ()

    def all(self) -> tuple[Arg, ...]:
        """Return all arguments: required, optional, static."""
        return self.required + self.optional + self.static


@dataclass(frozen=True, slots=True)
class Acl:
    """What callers with a role may do with a request."""

    role: str
    admin: bool
    ops: tuple[str, ...]
    at: Position
    marks: Mapping[str, Position]


@dataclass(frozen=True, slots=True)
class NodeArg:
    """Passes the parent's `given` to the child as `expected`."""

    expected: str
    given: str
    at: Position
    assigned_at: Position


@dataclass(frozen=True, slots=True)
class NodeSet:
    """Sets the parent's `as_` to the child's `arg` after the child.

    Attributes:
        collect: whether to set the list of all elements' values instead of the last one's.
    """

    arg: str
    as_: str
    collect: bool
    at: Position
    as_at: Position


@dataclass(frozen=True, slots=True)
class Each:
    """One `list:element` entry; both parts are empty if `text` does not have that form."""

    text: str
    list: str
    element: str
    at: Position


@dataclass(frozen=True, slots=True)
class Branch:
    """One entry of `eq`: the sequence that is called if the argument has the value."""

    value: str
    sequence: str
    at: Position


@dataclass(frozen=True, slots=True)
class Dep:
    """A dependency: the node that must be complete first."""

    name: str
    at: Position


@dataclass(frozen=True, slots=True)
class Node:
    """One vertex of a sequence: a job, a sequence or a conditional.

    Attributes:
        each: None if it is not in the file; it may be empty.
        parallel: maximum elements in flight; None means no limit.
        retry_wait: as written; "0s" if the file has `retry` only.
        timeout: maximum seconds of one try; None means no limit.
        marks: positions of the fields in the file, by field name.
    """

    name: str
    category: str = ""
    type: str = ""
    if_: str = ""
    eq: tuple[Branch, ...] = ()
    args: tuple[NodeArg, ...] = ()
    sets: tuple[NodeSet, ...] = ()
    each: tuple[Each, ...] | None = None
    parallel: int | None = None
    deps: tuple[Dep, ...] = ()
    retry: int = 0
    retry_wait: str = ""
    timeout: float | None = None
    backoff: BackoffPolicy | None = None
    interruption: Interruption = ""
    at: Position = NOWHERE
    marks: Mapping[str, Position] = field(default_factory=dict)

    def where(self, field_name: str) -> Position:
        """Return the position of a field, or of the node's name if the file lacks it."""
        return self.marks.get(field_name, self.at)

    def calls(self) -> tuple[str, ...]:
        """Return the sequences that the node may call, each once, in the order of the file."""
        if self.category == "sequence":
            return (self.type,) if self.type else ()
        if self.category == "conditional":
            return tuple(dict.fromkeys(branch.sequence for branch in self.eq))
        return ()


@dataclass(frozen=True, slots=True)
class Sequence:
    """A named graph of nodes with its own arguments.

    Attributes:
        request: whether clients can start it.
        file: file that declares it, relative to the specs directory.
        nodes: by name, in the order of the file.
        timeout: maximum seconds of one try of the sequence, or of the whole request.
        max_running: maximum running requests of this type; None means no limit.
        allow_extra: whether undeclared arguments of a caller are kept instead of rejected.
    """

    name: str
    request: bool = False
    args: Args = Args()
    acl: tuple[Acl, ...] = ()
    nodes: Mapping[str, Node] = field(default_factory=dict)
    timeout: float | None = None
    max_running: int | None = None
    allow_extra: bool = False
    file: str = BUILT_IN
    at: Position = NOWHERE
    marks: Mapping[str, Position] = field(default_factory=dict)

    def where(self, field_name: str) -> Position:
        """Return the position of a field, or of the sequence's name if the file lacks it."""
        return self.marks.get(field_name, self.at)
