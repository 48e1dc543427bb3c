"""Named queries in SQL files: `-- name:` starts a query, `:parameter` marks a value to bind."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

_NAME = re.compile(r"^-- name: *(\w+) *$", re.MULTILINE)
_PARAMETER = re.compile(
    r"""'(?:[^']|'')*' | "[^"]*" | --[^\n]* | (?<![:\w]):([a-z_]\w*)""", re.VERBOSE
)


@dataclass(frozen=True, slots=True)
class Query:
    """One statement.

    Attributes:
        name: name by which the code runs it.
        sql: the text, with $1, $2, … for its parameters.
        parameters: names of the parameters, in that order.
    """

    name: str
    sql: str
    parameters: tuple[str, ...]

    def bind(self, values: dict[str, Any]) -> list[Any]:
        """Return the values in the order of the parameters.

        Raises:
            TypeError: a parameter is missing or unknown.
        """
        if values.keys() != set(self.parameters):
            raise TypeError(
                f"query {self.name} takes {', '.join(self.parameters) or 'no parameters'}; "
                f"given: {', '.join(values) or 'none'}"
            )
        return [values[name] for name in self.parameters]


def parse_queries(text: str) -> Iterable[Query]:
    """Yield the queries of one file."""
    starts = list(_NAME.finditer(text))
    for start, following in zip(starts, [*starts[1:], None], strict=True):
        body = text[start.end() : following.start() if following else len(text)].strip()
        parameters: list[str] = []

        def number(match: re.Match[str], known: list[str] = parameters) -> str:
            if match[1] is None:
                return match[0]
            if match[1] not in known:
                known.append(match[1])
            return f"${known.index(match[1]) + 1}"

        sql = _PARAMETER.sub(number, body)
        yield Query(start[1], sql.rstrip(";"), tuple(parameters))


def load_queries(package: str) -> dict[str, Query]:
    """Return all queries in the `queries` folder of a package, by name.

    Raises:
        ValueError: two queries have the same name.
    """
    queries: dict[str, Query] = {}
    for file in sorted(files(package).joinpath("queries").iterdir(), key=lambda file: file.name):
        if not file.name.endswith(".sql"):
            continue
        for query in parse_queries(file.read_text(encoding="utf-8")):
            if query.name in queries:
                raise ValueError(f"{file.name}: query {query.name} is defined twice")
            queries[query.name] = query
    return queries
