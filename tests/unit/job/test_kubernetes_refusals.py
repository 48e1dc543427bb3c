from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from spincycle.kubernetes_jobs import informer
from spincycle.kubernetes_jobs.api_session import REFUSAL_TIMEOUT, ApiSession
from spincycle.kubernetes_jobs.errors import ApiRefused, ApiRefusing, ApiUnavailable
from spincycle.kubernetes_jobs.informer import Informer
from spincycle.kubernetes_jobs.refusal import (
    concerns_caller,
    describe_refusal,
    failure,
    lacking_room,
    namespace_is_deleted,
)
from spincycle.runtime.backoff import Backoff

RBAC = (
    'jobs.batch is forbidden: User "system:serviceaccount:a:b" cannot create resource "jobs"'
    ' in API group "batch" in the namespace "jobs"'
)
TERMINATING = "unable to create new content in namespace jobs because it is being terminated"
FULL = (
    'jobs.batch "x" is forbidden: exceeded quota: small, requested: count/jobs.batch=1,'
    " used: count/jobs.batch=5, limited: count/jobs.batch=5"
)


class Stream:
    """Body of a watch that sends one event."""

    def __init__(self, event: dict[str, Any]) -> None:
        self._event = event

    async def iter_any(self) -> AsyncIterator[bytes]:
        yield json.dumps(self._event).encode() + b"\n"


class ScriptedApi:
    """Returns, or raises, the next result of a script for each call and stream."""

    def __init__(self, *results: Any) -> None:
        self.results = list(results)

    async def call(self, *_: object) -> dict[str, Any]:
        result = self.results.pop(0)
        if isinstance(result, Exception):
            raise result
        found: dict[str, Any] = result
        return found

    @asynccontextmanager
    async def stream(self, *_: object) -> AsyncIterator[Stream]:
        yield Stream(await self.call())


class Clock:
    """Time of the event loop, set by the test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
async def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(asyncio.get_running_loop(), "time", clock.time)
    return clock


def refused(message: str = RBAC, code: int = 403) -> ApiRefused:
    return ApiRefused(code, "Forbidden", message)


def session(*results: Any) -> ApiSession:
    return ApiSession(ScriptedApi(*results))  # type: ignore[arg-type] # Has what is used of Api.


@pytest.mark.parametrize("code", [401, 403])
async def test_a_refusal_of_the_caller_counts_as_unavailable_for_thirty_seconds(
    clock: Clock, code: int
) -> None:
    api = session(*[refused(code=code) for _ in range(3)])

    with pytest.raises(ApiRefusing) as first:
        await api.call("GET", "/a")
    clock.now += REFUSAL_TIMEOUT - 0.1
    with pytest.raises(ApiRefusing):
        await api.call("GET", "/a")
    clock.now += 0.1
    with pytest.raises(ApiRefused) as last:
        await api.call("GET", "/a")

    assert first.value.status_text() == f"the API server refuses: {RBAC}; retried for 30s"
    assert "(retried for 30s)" in describe_refusal(last.value, "create it")


@pytest.mark.parametrize("between", [{}, ApiRefused(404, "NotFound", "no"), ApiUnavailable("away")])
async def test_an_accepted_call_or_an_outage_ends_the_period_of_refusals(
    clock: Clock, between: Any
) -> None:
    api = session(refused(), between, refused())
    with pytest.raises(ApiRefusing):
        await api.call("GET", "/a")
    clock.now += REFUSAL_TIMEOUT
    if isinstance(between, Exception):
        with pytest.raises(type(between)):
            await api.call("GET", "/a")
    else:
        await api.call("GET", "/a")

    with pytest.raises(ApiRefusing):
        await api.call("GET", "/a")


async def test_each_kind_of_call_has_a_period_of_its_own(clock: Clock) -> None:
    api = session(refused(), refused(), {}, refused())
    with pytest.raises(ApiRefusing):
        await api.call("GET", "/a")
    clock.now += REFUSAL_TIMEOUT
    with pytest.raises(ApiRefusing):
        await api.call("DELETE", "/a")
    await api.call("GET", "/b")

    with pytest.raises(ApiRefused):
        await api.call("GET", "/a")


async def test_error_events_of_watches_that_are_accepted_each_time_are_final_after_the_limit(
    clock: Clock,
) -> None:
    error = {"type": "ERROR", "object": {"code": 403, "message": RBAC}}
    api = session(error, error)
    with pytest.raises(ApiRefusing):
        await api.watch("/a", {}, 1.0, lambda _: None)
    clock.now += REFUSAL_TIMEOUT

    with pytest.raises(ApiRefused):
        await api.watch("/a", {}, 1.0, lambda _: None)


async def test_an_event_of_a_watch_ends_the_period_of_refusals(clock: Clock) -> None:
    error = {"type": "ERROR", "object": {"code": 403, "message": RBAC}}
    api = session(error, {"type": "BOOKMARK", "object": {}}, error)
    with pytest.raises(ApiRefusing):
        await api.watch("/a", {}, 1.0, lambda _: None)
    clock.now += REFUSAL_TIMEOUT
    await api.watch("/a", {}, 1.0, lambda _: None)

    with pytest.raises(ApiRefusing):
        await api.watch("/a", {}, 1.0, lambda _: None)


@pytest.mark.parametrize("code", [429, 500, 503])
async def test_an_error_event_of_an_overloaded_server_counts_as_unavailable(code: int) -> None:
    api = session({"type": "ERROR", "object": {"code": code, "message": "busy"}})

    with pytest.raises(ApiUnavailable, match=f"{code}: busy"):
        await api.watch("/a", {}, 1.0, lambda _: None)


async def test_a_watch_that_expires_each_time_is_restarted_with_growing_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[float] = []

    class Recorded(Backoff):
        async def wait(self, minimum: float = 0.0) -> None:
            waits.append(minimum + self.next())

    monkeypatch.setattr(informer, "Backoff", Recorded)
    gone = {"type": "ERROR", "object": {"code": 410, "message": "too old"}}
    listed = {"metadata": {"resourceVersion": "1"}, "items": []}
    api = session(*[listed, gone] * 4, ApiRefused(422, "Invalid", "no"))

    with pytest.raises(ApiRefused):
        await Informer(api, "/a", {}, asyncio.Event()).run()

    assert len(waits) == 4
    assert sum(waits) > waits[0] * 4
    assert waits[3] >= informer.FIRST_RETRY * 4
    assert waits[0] < informer.FIRST_RETRY, "without jitter all tries would list at the same time"


@pytest.mark.parametrize(
    ("code", "message", "caller"),
    [
        (401, "Unauthorized", True),
        (403, RBAC, True),
        (403, f"{RBAC}: exceeded quota: x, requested: y", True),
        (403, 'jobs.batch "x" is forbidden: not yet ready to handle request', True),
        (403, "Forbidden", True),
        (403, FULL, False),
        (403, "failed quota: small: must specify limits.cpu", False),
        (403, 'admission webhook "a.b" denied the request: unsigned', False),
        (403, "ValidatingAdmissionPolicy 'a' with binding 'b' denied request: no", False),
        (403, 'violates PodSecurity "restricted:latest": runAsNonRoot', False),
        (403, TERMINATING, False),
        (404, "not found", False),
        (409, "conflict", False),
    ],
)
def test_a_refusal_concerns_the_caller_unless_it_decides_about_the_object(
    code: int, message: str, *, caller: bool
) -> None:
    assert concerns_caller(refused(message, code)) is caller


def test_a_namespace_that_is_being_deleted_is_recognized_by_cause_or_by_message() -> None:
    status = {"message": "no", "details": {"causes": [{"reason": "NamespaceTerminating"}]}}
    by_cause = failure(403, status)

    assert isinstance(by_cause, ApiRefused)
    assert namespace_is_deleted(by_cause)
    assert namespace_is_deleted(refused(TERMINATING))
    assert not namespace_is_deleted(refused())


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (
            FULL,
            f"no room in quota small: {FULL.partition('small, ')[2]}",
        ),
        (
            "exceeded quota: big, requested: cpu=2, used: cpu=9, limited: cpu=10",
            "no room in quota big: requested: cpu=2, used: cpu=9, limited: cpu=10",
        ),
        (
            "status unknown for quota: small, resources: count/jobs.batch",
            "no room in quota small: its use is not computed yet",
        ),
        (RBAC, ""),
    ],
)
def test_a_refusal_by_a_quota_is_described_with_its_name_and_figures(
    message: str, text: str
) -> None:
    assert lacking_room(refused(message)) == text


def test_only_a_missing_permission_is_described_with_the_role_to_bind() -> None:
    hint = "docs/how-to/kubernetes-job.md"

    assert hint in describe_refusal(refused(), "create it")
    assert hint not in describe_refusal(refused(FULL), "create it")
    assert hint not in describe_refusal(refused(TERMINATING), "create it")
