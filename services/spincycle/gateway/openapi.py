"""The OpenAPI document, generated from the routes and codecs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from spincycle.gateway.http_messages import JSON_TYPE, HttpRequest, HttpResponse
from spincycle.gateway.router import Parameter, Route
from spincycle.rest_codec.codecs import Codec
from spincycle.rest_codec.encoding import Json, to_text
from spincycle.rest_codec.tables import KeyedListCodec, ListOf, MapOf, MessageCodec
from spincycle.runtime.version import VERSION

_MESSAGE = {
    "type": "object",
    "properties": {
        "message": {"type": "string"},
        "requestId": {"type": "string"},
        "httpStatus": {"type": "integer"},
    },
    "required": ["message"],
}
_FAILURES = {
    400: "the call is invalid; the message names the error",
    401: "the caller is not authenticated",
    403: "the caller may not do this, or the host, or the origin of the page, is not allowed",
    404: "not found",
    408: "the body was not received in time",
    409: "the state of the request does not allow the call, or it conflicts with an earlier call",
    410: "the cursor is too old; open the stream without a cursor",
    413: "the request or response body is too large",
    415: "the Content-Type must be application/json",
    429: "the caller has, or does, as much as one caller may; Retry-After has the seconds to wait",
    500: "internal error; see the gateway's log",
    501: "not supported by this version",
    503: "a service behind the gateway is unavailable or overloaded",
    504: "a service behind the gateway did not respond in time",
}
_ALWAYS = (400, 403, 500, 501, 503, 504)
_WITH_BODY = (408, 413)


def openapi_route(routes: Iterable[Route]) -> Route:
    """Return the route that serves the document; the document includes it."""

    async def openapi(_: HttpRequest) -> HttpResponse:
        return HttpResponse(text)

    own = Route(
        "GET",
        "/openapi.json",
        openapi,
        "this document",
        response_type="application/json",
        anonymous=True,
    )
    text = to_text(describe([*routes, own]))
    return own


def describe(routes: Iterable[Route]) -> dict[str, Json]:
    """Return an OpenAPI 3.1 document of the routes."""
    paths: dict[str, dict[str, Json]] = {}
    schemas: dict[str, Json] = {"Failure": _MESSAGE}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
        for kind in (route.body, route.response):
            if kind:
                _collect(kind, schemas)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Spin Cycle",
            "version": VERSION,
            "description": "Requests as graphs of jobs: create them, watch them, stop them.",
        },
        "paths": paths,
        "components": {"schemas": dict(sorted(schemas.items()))},
    }


def _operation(route: Route) -> dict[str, Json]:
    operation: dict[str, Json] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in re.findall(r"{(\w+)}", route.path)
        ]
        + [_parameter(parameter) for parameter in route.parameters],
        "responses": _responses(route),
    }
    if route.body:
        operation["requestBody"] = {"content": {JSON_TYPE: {"schema": route.body.schema()}}}
    return operation


def _operation_id(route: Route) -> str:
    words = [word.strip("{}") for word in route.path.removeprefix("/api/v1").split("/") if word]
    joined = "_".join([route.method.lower(), *words])
    return re.sub(r"\W+", "_", joined)


def _parameter(parameter: Parameter) -> dict[str, Json]:
    shape: dict[str, Json] = {"type": parameter.type}
    if parameter.type == "integer":
        shape["minimum"] = 0
    if parameter.repeated:
        shape = {"type": "array", "items": shape}
    return {
        "name": parameter.name,
        "in": parameter.where,
        "description": parameter.doc,
        "schema": shape,
    }


def _responses(route: Route) -> dict[str, Json]:
    good: dict[str, Json] = {"description": "success"}
    if route.response:
        good["content"] = {JSON_TYPE: {"schema": route.response.schema()}}
    elif route.response_type:
        good["content"] = {route.response_type: {}}
    failures = {*route.failures, *_ALWAYS, *(_WITH_BODY if route.body else ())}
    if not route.anonymous:
        failures.add(401)
    if route.needs_json:
        failures.add(415)
    shape = {"schema": {"$ref": "#/components/schemas/Failure"}}
    return {
        str(route.status): good,
        **{
            str(status): {"description": _FAILURES[status], "content": {JSON_TYPE: shape}}
            for status in sorted(failures)
        },
    }


def _collect(kind: Codec, schemas: dict[str, Any]) -> None:
    if isinstance(kind, ListOf | MapOf | KeyedListCodec):
        _collect(kind.element, schemas)
    elif isinstance(kind, MessageCodec) and kind.name not in schemas:
        schemas[kind.name] = kind.described()
        for field in kind.fields:
            _collect(field.kind, schemas)
