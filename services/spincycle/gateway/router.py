"""The table of routes, matched by method and path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from spincycle.gateway.cors import SAFE_METHODS
from spincycle.gateway.error_responses import HttpError
from spincycle.gateway.http_messages import HttpRequest, HttpResponse
from spincycle.rest_codec.codecs import Codec
from spincycle.rest_codec.tables import MessageCodec

Handler = Callable[[HttpRequest], Awaitable[HttpResponse]]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter or a header, as the OpenAPI document describes it.

    Attributes:
        name: its name.
        doc: its description.
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
        handle: the handler.
        summary: one line for the OpenAPI document.
        body: codec of the request body; None if the body is not read.
        response: codec of a JSON response body.
        response_type: media type of the response body; empty if it has none.
        status: status on success.
        failures: error statuses besides those that every call can have.
        parameters: query parameters and headers.
        anonymous: whether callers need not be authenticated.
        of_original: whether the original has it; its callers send no Content-Type without a body.
    """

    method: str
    path: str
    handle: Handler
    summary: str
    body: MessageCodec[Any] | None = None
    response: Codec | None = None
    response_type: str = ""
    status: int = 200
    failures: tuple[int, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    of_original: bool = False
    anonymous: bool = False

    @property
    def needs_json(self) -> bool:
        """Whether the Content-Type must be application/json, also without a body.

        A page of another origin can send that type only after a preflight, which is rejected.
        """
        return self.method not in SAFE_METHODS and not self.of_original


@dataclass(slots=True)
class _Node:
    inner: dict[str, _Node] = field(default_factory=dict)
    placeholder: _Node | None = None
    name: str = ""
    by_method: dict[str, Route] = field(default_factory=dict)


class Router:
    """Matches method and path to a route; a trailing slash makes a different path."""

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
        """Return the route and the values of its placeholders.

        Raises:
            HttpError: 404 if no route has the path, 405 if only another method has it.
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
