"""Calls made up from the API's own description, against the whole system.

The number of calls of each operation is small here; `make fuzz` makes many more.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openapi_spec_validator import validate
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.conformance.whole import Whole, started, until

from spincycle.gateway.openapi import describe
from spincycle.gateway.routes.job_runner import JobRunnerRoutes

EXAMPLES = int(os.environ.get("SPINCYCLE_FUZZ_EXAMPLES", "8"))
LONG = EXAMPLES > 100
SLOW = 4
"""Times fewer calls of an operation whose answer waits for what may happen."""

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
TYPES = ("one-noop", "greet", "fan-each", "sleeper", "fail", "choose", "test")
STREAM = "text/event-stream"
UNSENDABLE = (requests.exceptions.InvalidHeader, requests.exceptions.InvalidURL, UnicodeError)
_MEGABYTE = 2**20


@pytest.fixture(scope="module")
def whole() -> Iterator[Whole]:
    with started() as whole:
        yield whole


@pytest.fixture(scope="module")
def request_ids(whole: Whole) -> list[str]:
    """Requests that have ended, and one that runs."""
    bodies = (
        {"type": "greet", "args": {"name": "ann"}},
        {"type": "fail"},
        {"type": "fan-each", "args": {"count": "2"}},
        {"type": "sleeper", "args": {"duration": "3600000"}},
    )
    with httpx.Client(base_url=whole.api) as api:
        made = [api.post("/api/v1/requests", json=body).json()["id"] for body in bodies]
        until(lambda: api.get(f"/api/v1/requests/{made[2]}").json()["state"] == 3)
    return made


def test_the_description_is_openapi(whole: Whole) -> None:
    validate(httpx.get(f"{whole.api}/openapi.json").json())


@pytest.mark.timeout(0 if LONG else 120)
def test_no_call_of_the_api_causes_an_internal_error(whole: Whole, request_ids: list[str]) -> None:
    fuzz(httpx.get(f"{whole.api}/openapi.json").json(), whole.api, request_ids)


@pytest.mark.timeout(0 if LONG else 120)
def test_no_call_of_a_runner_causes_an_internal_error(whole: Whole, request_ids: list[str]) -> None:
    routes = JobRunnerRoutes(None, whole.runner).routes()  # type: ignore[arg-type] # only described
    fuzz(describe(routes), whole.runner, request_ids)


def test_no_resources_remain_after_all_calls(whole: Whole) -> None:
    """Last in this file, so that it looks at a gateway that was called very often."""
    process = Path(f"/proc/{whole.pid('gateway')}")
    until(lambda: len(list((process / "fd").iterdir())) < 40)
    pages = int((process / "statm").read_text().split()[1])

    assert pages * os.sysconf("SC_PAGE_SIZE") < 200 * _MEGABYTE
    assert "Traceback" not in whole.output()
    assert httpx.get(f"{whole.api}/readyz").status_code == 200


def fuzz(document: dict[str, Any], base_url: str, request_ids: list[str]) -> None:
    """Call every operation with what its description allows, and with what it does not."""
    schema = schemathesis.openapi.from_dict(document)
    with requests.Session() as session:
        for found in schema.get_all_operations():
            assert isinstance(found, Ok)
            operation = found.ok()
            slow = operation.path.endswith("/events")

            @settings(
                max_examples=max(EXAMPLES // SLOW, 2) if slow else EXAMPLES,
                database=None,
                derandomize=not LONG,
                suppress_health_check=list(HealthCheck),
            )
            @given(case=operation.as_strategy(), known=known_values(request_ids))
            def no_defect(case: schemathesis.Case[Any], known: dict[str, Any]) -> None:
                call(session, base_url, case, known)

            no_defect()


def known_values(request_ids: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """Odd values that match a route, and values that are far too long."""
    return st.fixed_dictionaries(
        {},
        optional={
            "request_id": st.sampled_from([*request_ids, "x" * 20_000]),
            "Type": st.sampled_from([*TYPES, "é" * 100_000]),
            "Args": st.sampled_from([{"name": "ann"}, {"count": "2"}, {"duration": "1"}, {}]),
        },
    )


def call(
    session: requests.Session, base_url: str, case: schemathesis.Case[Any], known: dict[str, Any]
) -> None:
    """Make one call, its answer read as far as it comes by itself."""
    if "request_id" in case.path_parameters and "request_id" in known:
        case.path_parameters["request_id"] = known["request_id"]
    if isinstance(case.body, dict) and not {"Type", "type"}.isdisjoint(case.body):
        case.body.update({key: known[key] for key in ("Type", "Args") if key in known})
    sent = case.as_transport_kwargs(base_url=base_url)
    try:
        answer = session.request(**sent, stream=True, timeout=30)
    except UNSENDABLE:
        return
    with answer:
        if answer.headers.get("content-type") != STREAM:
            case.validate_response(answer, checks=CHECKS)
        assert answer.status_code < 500, answer.text
