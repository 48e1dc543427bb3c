"""Parses the query of a list of requests, with the error texts of the original."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from spincycle.errors import InvalidInput
from spincycle.model.state import State
from spincycle.rest_codec.times import parse_time
from spincycle.v1 import audit_service_pb2, request_pb2

Query = Mapping[str, Sequence[str]]

_DIGITS = re.compile(r"[0-9]+", re.ASCII)
_UINT64_END = 2**64
UINT32_MAX = 2**32 - 1
_MOST_DIGITS = 20


def parse_filter(query: Query) -> request_pb2.RequestFilter:
    """Parse the filter; its numbers are capped to the range of their message fields.

    `offset` is ignored without `limit`, as by the original.

    Raises:
        InvalidInput: a parameter is invalid; the error names it.
    """
    request_filter = request_pb2.RequestFilter(
        type=_first(query, "type"), user=_first(query, "user")
    )
    for name in query.get("state", ()):
        if name not in State.__members__:
            raise InvalidInput(
                f"invalid 'state' parameter: \"{name}\" is not a valid state name", "state"
            )
        request_filter.states.append(State[name].value)  # type: ignore[arg-type] # same numbers
    for given in query.get("arg", ()):
        name, equals, value = given.partition("=")
        if not equals:
            raise InvalidInput(
                f"invalid 'arg' parameter: '{given}' does not match expected format key=value",
                "arg",
            )
        request_filter.args[name] = value
    parse_times(query, request_filter)
    request_filter.limit = min(parse_number(query, "limit"), UINT32_MAX)
    if _first(query, "limit"):
        offset = min(parse_number(query, "offset"), UINT32_MAX)
        request_filter.offset = offset if request_filter.limit else 0
    return request_filter


def parse_times(
    query: Query, parsed: request_pb2.RequestFilter | audit_service_pb2.AuditFilter
) -> None:
    """Parse `since` and `until` into a filter.

    Raises:
        InvalidInput: one of them is not a time.
    """
    for name in ("since", "until"):
        text = _first(query, name)
        if text:
            try:
                getattr(parsed, name).CopyFrom(parse_time(text))
            except ValueError as error:
                raise InvalidInput(
                    f"invalid '{name}' parameter: \"{text}\" cannot be parsed to time.Time: "
                    f"{error}",
                    name,
                )


def parse_number(query: Query, name: str) -> int:
    """Parse an unsigned decimal; 0 if it is missing.

    Raises:
        InvalidInput: the value is not a number, or is too large.
    """
    text = _first(query, name)
    if not text:
        return 0
    problem = ""
    if not _DIGITS.fullmatch(text):
        problem = "invalid syntax"
    elif len(text.lstrip("0")) > _MOST_DIGITS or int(text) >= _UINT64_END:
        problem = "value out of range"
    if problem:
        raise InvalidInput(
            f"invalid '{name}' parameter: \"{text}\" cannot be parsed to uint: "
            f'strconv.ParseUint: parsing "{text}": {problem}',
            name,
        )
    return int(text)


def _first(query: Query, name: str) -> str:
    values = query.get(name)
    return values[0] if values else ""
