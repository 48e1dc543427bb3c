"""What a caller gives, checked against what the request declares: all problems at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spincycle.errors import FieldViolation, InvalidArgs, UnknownRequestType
from spincycle.graph.values import UnfitValue, plain
from spincycle.model.exact_numbers import joined
from spincycle.model.request_arg import RequestArg
from spincycle.text.nearest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spincycle.model.job_chain import Value
    from spincycle.spec import Arg, Sequence, SpecSet


FEW_ARGS = 100
"""Arguments up to which checking them takes no time worth a thread."""

SHORT_TEXT = 4 * 1024
"""Characters of a text up to which that is so."""

MOST_VIOLATIONS = 100
"""Undeclared arguments that are described; how many more there are is said."""


@dataclass(frozen=True, slots=True)
class CheckedArgs:
    """Arguments of a request as understood.

    Attributes:
        args: the declared ones, for the record: required, optional, static.
        values: final value of each declared argument.
    """

    args: list[RequestArg]
    values: dict[str, Value]


def find_request(specs: SpecSet, request_type: str) -> Sequence:
    """The sequence behind a request type.

    Raises:
        UnknownRequestType: there is none, or it is not a request.
    """
    sequence = specs.sequences.get(request_type)
    if sequence is None:
        known = [request.name for request in specs.requests()]
        meant = did_you_mean(request_type, known)
        raise UnknownRequestType(
            f"cannot find specs for request: {request_type}{meant}", request_type
        )
    if not sequence.request:
        raise UnknownRequestType(f"{request_type} is not a request", request_type)
    return sequence


def are_small(given: Mapping[str, Value]) -> bool:
    """Whether checking arguments holds nobody up: few scalars, none of them a long text."""
    return len(given) <= FEW_ARGS and all(
        len(value) <= SHORT_TEXT if isinstance(value, str) else not isinstance(value, list | dict)
        for value in given.values()
    )


def check_args(request: Sequence, given: Mapping[str, Value]) -> CheckedArgs:
    """Convert and complete the arguments of a request.

    Raises:
        InvalidArgs: with one violation for each argument that is missing, undeclared,
            static, of the wrong type or value, or that holds a number that cannot be kept
            exactly.
    """
    violations = _undeclared(request, given)
    args: list[RequestArg] = []
    values: dict[str, Value] = {}
    for arg in request.args.all():
        try:
            value = _value(arg, given)
        except _Refused as refused:
            violations.append(refused.violation)
            continue
        values[arg.name] = value
        args.append(_record(arg, given, value))
    if violations:
        problem = "; ".join(violation.description for violation in violations)
        raise InvalidArgs(problem, request.name, tuple(violations))
    return CheckedArgs(args, values)


def pattern_steps(request: Sequence, given: Mapping[str, Value]) -> int:
    """An upper bound of the work of matching the given arguments with their patterns.

    One step takes at most about 10 ns.
    """
    return sum(
        arg.type.pattern_steps(given[arg.name])
        for arg in request.args.all()
        if arg.type.pattern and arg.name in given
    )


def declared_args(request: Sequence) -> list[RequestArg]:
    """The arguments that a caller may give, as the list of requests shows them."""
    return [_record(arg, {}, None) for arg in (*request.args.required, *request.args.optional)]


class _Refused(Exception):
    def __init__(self, name: str, problem: str, path: str = "") -> None:
        self.violation = FieldViolation(joined(f"args.{name}", path), problem)


def _value(arg: Arg, given: Mapping[str, Value]) -> Value:
    if arg.kind == "static":
        if arg.name in given:
            raise _Refused(arg.name, f'argument "{arg.name}" is static and cannot be given')
        return arg.default
    if arg.name not in given:
        if arg.kind == "required":
            raise _Refused(arg.name, f"required arg '{arg.name}' not set")
        return arg.default
    value = _storable(arg.name, given[arg.name])
    try:
        return arg.type.convert(value)
    except ValueError as error:
        raise _Refused(arg.name, f'argument "{arg.name}": {error}') from None


def _storable(name: str, value: Value) -> Value:
    try:
        return plain(value)
    except UnfitValue as unfit:
        raise _Refused(name, f'argument "{name}": {unfit}', unfit.path) from None


def _undeclared(request: Sequence, given: Mapping[str, Value]) -> list[FieldViolation]:
    declared = {arg.name for arg in request.args.all()}
    if request.allow_extra:
        return _unfit_extras(given, declared)
    can_be_given = [arg.name for arg in (*request.args.required, *request.args.optional)]
    undeclared = sorted(given.keys() - declared)
    violations = [
        FieldViolation(
            f"args.{name}",
            f'request {request.name} has no argument "{name}"{did_you_mean(name, can_be_given)}',
        )
        for name in undeclared[:MOST_VIOLATIONS]
    ]
    if len(undeclared) > MOST_VIOLATIONS:
        more = len(undeclared) - MOST_VIOLATIONS
        violations.append(FieldViolation("args", f"{more} further arguments are not declared"))
    return violations


def _unfit_extras(given: Mapping[str, Value], declared: set[str]) -> list[FieldViolation]:
    """Violations of arguments that no job gets, but that are kept with the request."""
    violations = []
    for name in sorted(given.keys() - declared):
        try:
            _storable(name, given[name])
        except _Refused as refused:
            violations.append(refused.violation)
    return violations


def _record(arg: Arg, given: Mapping[str, Value], value: Value) -> RequestArg:
    return RequestArg(
        pos=arg.pos,
        name=arg.name,
        desc=arg.desc,
        type=arg.kind,
        given=arg.name in given,
        default=arg.default if arg.kind == "optional" else None,
        value=value,
        secret=arg.secret,
        value_type=arg.value_type,
    )
