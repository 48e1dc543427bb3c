"""Validates a caller's arguments against the declared ones; reports all violations at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from spincycle.errors import FieldViolation, InvalidArgs, UnknownRequestType
from spincycle.graph.values import InvalidValue, json_copy
from spincycle.model.exact_numbers import joined
from spincycle.model.request_arg import RequestArg
from spincycle.text.nearest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spincycle.model.job_chain import Value
    from spincycle.spec import Arg, Sequence, SpecSet


FEW_ARGS = 100
"""Number of arguments up to which they are checked on the event loop."""

SHORT_TEXT = 4 * 1024
"""Length of a string, in characters, up to which it is checked on the event loop."""

MAX_VIOLATIONS = 100
"""Maximum undeclared arguments that are listed; the rest are counted."""


@dataclass(frozen=True, slots=True)
class CheckedArgs:
    """Validated arguments of a request.

    Attributes:
        args: the declared arguments, to be stored: required, optional, static.
        values: final value of each declared argument by name.
    """

    args: list[RequestArg]
    values: dict[str, Value]


def find_request(specs: SpecSet, request_type: str) -> Sequence:
    """Return the sequence of a request type.

    Raises:
        UnknownRequestType: it does not exist or is not a request.
    """
    sequence = specs.sequences.get(request_type)
    if sequence is None:
        known = [request.name for request in specs.requests()]
        suggestion = did_you_mean(request_type, known)
        raise UnknownRequestType(
            f"cannot find specs for request: {request_type}{suggestion}", request_type
        )
    if not sequence.request:
        raise UnknownRequestType(f"{request_type} is not a request", request_type)
    return sequence


def are_small(given: Mapping[str, Value]) -> bool:
    """Return whether arguments can be checked on the event loop: few scalars, no long string."""
    return len(given) <= FEW_ARGS and all(
        len(value) <= SHORT_TEXT if isinstance(value, str) else not isinstance(value, list | dict)
        for value in given.values()
    )


def check_args(request: Sequence, given: Mapping[str, Value]) -> CheckedArgs:
    """Convert the arguments of a request and add defaults.

    Raises:
        InvalidArgs: arguments are missing, undeclared, static, of the wrong type or value, or
            contain a number that cannot be stored exactly; it has one violation per argument.
    """
    violations = _undeclared(request, given)
    args: list[RequestArg] = []
    values: dict[str, Value] = {}
    for arg in request.args.all():
        try:
            value = _value(arg, given)
        except _Rejected as rejected:
            violations.append(rejected.violation)
            continue
        values[arg.name] = value
        args.append(_record(arg, given, value))
    if violations:
        problem = "; ".join(violation.description for violation in violations)
        raise InvalidArgs(problem, request.name, tuple(violations))
    return CheckedArgs(args, values)


def pattern_steps(request: Sequence, given: Mapping[str, Value]) -> int:
    """Return an upper bound of the steps to match the given arguments with their patterns.

    One step takes at most about 10 ns.
    """
    return sum(
        arg.type.pattern_steps(given[arg.name])
        for arg in request.args.all()
        if arg.type.pattern and arg.name in given
    )


def declared_args(request: Sequence) -> list[RequestArg]:
    """Return the arguments that a caller may pass, for the list of requests."""
    return [_record(arg, {}, None) for arg in (*request.args.required, *request.args.optional)]


class _Rejected(Exception):
    def __init__(self, name: str, problem: str, path: str = "") -> None:
        self.violation = FieldViolation(joined(f"args.{name}", path), problem)


def _value(arg: Arg, given: Mapping[str, Value]) -> Value:
    if arg.kind == "static":
        if arg.name in given:
            raise _Rejected(arg.name, f'argument "{arg.name}" is static and cannot be given')
        return arg.default
    if arg.name not in given:
        if arg.kind == "required":
            raise _Rejected(arg.name, f"required arg '{arg.name}' not set")
        return arg.default
    value = _storable(arg.name, given[arg.name])
    try:
        return arg.type.convert(value)
    except ValueError as error:
        raise _Rejected(arg.name, f'argument "{arg.name}": {error}') from None


def _storable(name: str, value: Value) -> Value:
    try:
        return json_copy(value)
    except InvalidValue as invalid:
        raise _Rejected(name, f'argument "{name}": {invalid}', invalid.path) from None


def _undeclared(request: Sequence, given: Mapping[str, Value]) -> list[FieldViolation]:
    declared = {arg.name for arg in request.args.all()}
    if request.allow_extra:
        return _invalid_extras(given, declared)
    can_be_given = [arg.name for arg in (*request.args.required, *request.args.optional)]
    undeclared = sorted(given.keys() - declared)
    violations = [
        FieldViolation(
            f"args.{name}",
            f'request {request.name} has no argument "{name}"{did_you_mean(name, can_be_given)}',
        )
        for name in undeclared[:MAX_VIOLATIONS]
    ]
    if len(undeclared) > MAX_VIOLATIONS:
        more = len(undeclared) - MAX_VIOLATIONS
        violations.append(FieldViolation("args", f"{more} more arguments are not declared"))
    return violations


def _invalid_extras(given: Mapping[str, Value], declared: set[str]) -> list[FieldViolation]:
    """Return the violations of extra arguments, which are stored but not passed to jobs."""
    violations = []
    for name in sorted(given.keys() - declared):
        try:
            _storable(name, given[name])
        except _Rejected as rejected:
            violations.append(rejected.violation)
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
