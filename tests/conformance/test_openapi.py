from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from tests.conformance import samples
from tests.conformance.conftest import Stack
from tests.conformance.samples import ID

from spincycle.v1 import request_manager_service_pb2 as rm
from spincycle.v1 import state_pb2


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        for inner in node.values():
            yield from references(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from references(inner)


def fits(value: Any, shape: dict[str, Any], schemas: dict[str, Any]) -> bool:
    """Whether a value is what the schema says, for the few words that are used here."""
    if "$ref" in shape:
        return fits(value, schemas[shape["$ref"].rpartition("/")[2]], schemas)
    if "anyOf" in shape:
        return any(fits(value, one, schemas) for one in shape["anyOf"])
    if "type" not in shape:
        return True
    types = {
        "object": dict,
        "array": list,
        "string": str,
        "boolean": bool,
        "integer": int,
        "null": type(None),
    }
    wanted = shape["type"] if isinstance(shape["type"], list) else [shape["type"]]
    if not any(type(value) is types[name] for name in wanted):
        return False
    if isinstance(value, dict):
        known = shape.get("properties", {})
        other = shape.get("additionalProperties", {})
        return set(shape.get("required", ())) <= value.keys() and all(
            (key in known or other is not False) and fits(inner, known.get(key, other), schemas)
            for key, inner in value.items()
        )
    if isinstance(value, list):
        return all(fits(inner, shape.get("items", {}), schemas) for inner in value)
    if isinstance(value, int) and not isinstance(value, bool):
        return bool(shape.get("minimum", value) <= value <= shape.get("maximum", value))
    return "enum" not in shape or value in shape["enum"]


async def test_every_route_is_described_once(stack: Stack) -> None:
    document = (await stack.http.get("/openapi.json")).json()

    described = {
        (method.upper(), path) for path, item in document["paths"].items() for method in item
    }
    assert described == {(route.method, route.path) for route in stack.gateway.router.routes}
    ids = [
        operation["operationId"]
        for item in document["paths"].values()
        for operation in item.values()
    ]
    assert len(ids) == len(set(ids))


async def test_every_reference_resolves(stack: Stack) -> None:
    document = (await stack.http.get("/openapi.json")).json()

    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert set(references(document)) == known


async def test_every_placeholder_is_a_parameter(stack: Stack) -> None:
    document = (await stack.http.get("/openapi.json")).json()

    for path, item in document["paths"].items():
        for operation in item.values():
            named = {
                parameter["name"]
                for parameter in operation["parameters"]
                if parameter["in"] == "path"
            }
            assert named == set(re.findall(r"{(\w+)}", path))


async def test_a_response_matches_its_schema(stack: Stack) -> None:
    request = samples.with_args(samples.a_request(state_pb2.STATE_RUNNING))
    request.job_chain.CopyFrom(samples.a_chain())
    stack.manager.respond(
        Get=rm.GetResponse(request=request), List=rm.ListResponse(requests=[request])
    )
    document = (await stack.http.get("/openapi.json")).json()

    for path in ("/api/v1/requests", "/api/v1/requests/{request_id}"):
        answer = (await stack.http.get(path.format(request_id=ID))).json()
        content = document["paths"][path]["get"]["responses"]["200"]["content"]
        shape = content["application/json"]["schema"]
        assert fits(answer, shape, document["components"]["schemas"])
        assert not fits({"id": 3}, shape, document["components"]["schemas"])
