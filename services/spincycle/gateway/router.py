"""The table of routes, and finding the one that a path means."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from spincycle.gateway.cors import SAFE_METHODS
from spincycle.gateway.exchange import HttpRequest, HttpResponse
from spincycle.gateway.failures import HttpError
from spincycle.rest_codec.codecs import Codec
from spincycle.rest_codec.tables import MessageCodec

Handler = Callable[[HttpRequest], Awaitable[HttpResponse]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a query, or a header, as the API's description tells it.

    Attributes:
        name: its name.
        doc: what it means.
        type: JSON type of its values.
        repeated: whether it may be given more than once.
        where: "query" or "header".
    """

    name: str
    doc: str
    type: str = "string"
    repeated: bool = False
    where: str = "query"


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of the API.

    Attributes:
        method: HTTP method.
        path: path with placeholders in braces, each a whole segment.
        handle: what answers it.
        summary: what it does, in one line.
        body: shape of the body, if it takes one; without one the body is not read.
        answer: shape of the answer, if there is one as JSON.
        answer_type: type of the answer's body; empty if it has none.
        status: status when all is well.
        failures: statuses otherwise, beside those that any call can have.
        parameters: query parameters and headers that it knows.
        of_original: whether the original has it, whose callers send no type of an empty body.
    """

    method: str
    path: str
    handle: Handler
    summary: str
    body: MessageCodec[Any] | None = None
    answer: Codec | None = None
    answer_type: str = ""
    status: int = 200
    failures: tuple[int, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    of_original: bool = False

    @property
    def needs_json(self) -> bool:
        """Whether a call must have the type application/json, also without a body.

        A page of another origin can send that type only after a preflight, which tells it no.
        """
        return self.method not in SAFE_METHODS and not self.of_original


@dataclass(slots=True)
class _Node:
    inner: dict[str, _Node] = field(default_factory=dict)
    placeholder: _Node | None = None
    name: str = ""
    by_method: dict[str, Route] = field(default_factory=dict)


class Router:
    """Finds routes by method and path; a trailing slash makes another path."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = tuple(routes)
        self._root = _Node()
        for route in routes:
            self._add(route)

    def _add(self, route: Route) -> None:
        node = self._root
        for segment in route.path.split("/")[1:]:
            if segment.startswith("{"):
                node.placeholder = node.placeholder or _Node(name=segment[1:-1])
                node = node.placeholder
            else:
                node = node.inner.setdefault(segment, _Node())
        node.by_method[route.method] = route

    def match(self, method: str, raw_path: bytes) -> tuple[Route, dict[str, str]]:
        """The route, and what its placeholders stand for.

        Raises:
            HttpError: 404 if no route has the path, 405 if one has it with another method.
        """
        node = self._root
        params: dict[str, str] = {}
        for segment in raw_path.decode("utf-8", "replace").split("/")[1:]:
            following = node.inner.get(segment)
            if following is None and node.placeholder and segment:
                following = node.placeholder
                params[following.name] = unquote(segment, errors="replace")
            if following is None:
                raise HttpError(404, "Not Found")
            node = following
        if not node.by_method:
            raise HttpError(404, "Not Found")
        route = node.by_method.get(method)
        if route is None:
            raise HttpError(405, "Method Not Allowed", Allow=", ".join(sorted(node.by_method)))
        return route, params
