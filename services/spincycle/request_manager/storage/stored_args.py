"""Resolved arguments of a request as they are stored."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import orjson

from spincycle.model.exact_numbers import as_readable
from spincycle.model.request_arg import RequestArg

_KNOWN = frozenset(field.name for field in fields(RequestArg))


@dataclass(frozen=True, slots=True)
class StoredArgs:
    """The JSON text of the column `args`, parsed on demand.

    Rows of many requests can be read together, and one that cannot be parsed fails alone.
    """

    text: str = "[]"

    def parse(self) -> list[RequestArg]:
        """Return the arguments; numbers that cannot be represented exactly are text.

        Unknown fields, which later versions may store, are ignored.

        Raises:
            ValueError, TypeError, AttributeError: the text does not hold arguments.
        """
        return [_parse_arg(stored) for stored in orjson.loads(self.text)]


NO_ARGS = StoredArgs()
"""The arguments of a request without stored arguments."""


def _parse_arg(stored: dict[str, object]) -> RequestArg:
    known = {name: value for name, value in stored.items() if name in _KNOWN}
    arg = RequestArg(**known)  # type: ignore[arg-type] # as it was stored
    return replace(arg, default=as_readable(arg.default), value=as_readable(arg.value))
