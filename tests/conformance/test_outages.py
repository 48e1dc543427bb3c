"""Services behind the gateway that die or stand still while many callers wait."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest
from tests.conformance.whole import Whole, started
from tests.waiting import until

from spincycle.gateway.routes.requests import CREATE_TIMES

LIMIT = 2
"""Seconds that the gateway gives a service."""

CALLERS = 16
REQUESTS = "/api/v1/requests"
SERVICES = [("request-manager", {"create", "list", "get"}), ("job-log", {"log"})]
"""What can be taken away, and the calls that cannot be answered then."""


@pytest.fixture(scope="module")
def whole() -> Iterator[Whole]:
    with started(SPINCYCLE_GATEWAY_BACKEND_TIMEOUT=str(LIMIT)) as whole:
        yield whole


class Load:
    """Callers that call again and again, and what they were answered."""

    def __init__(self, http: httpx.AsyncClient, known: str) -> None:
        self.http = http
        self._known = known
        self.statuses: Counter[int] = Counter()
        self.answered: Counter[tuple[str, int]] = Counter()
        self.unlike: list[str] = []
        self.created: list[str] = []

    async def call(self, number: int) -> None:
        """Call until cancelled; each caller has a call of its own that it repeats."""
        kind, method, path = (
            ("create", "POST", REQUESTS),
            ("list", "GET", REQUESTS + "?limit=5"),
            ("get", "GET", f"{REQUESTS}/{self._known}"),
            ("log", "GET", f"{REQUESTS}/{self._known}/log"),
        )[number % 4]
        content = b'{"type":"one-noop"}' if method == "POST" else None
        while True:
            answer = await self.http.request(
                method, path, content=content, headers={"Content-Type": "application/json"}
            )
            self.answered[kind, answer.status_code] += 1
            self._judge(answer)
            await asyncio.sleep(0.01)

    async def until_seen(self, statuses: set[int], kinds: set[str]) -> None:
        """Wait until a call of each of these kinds is answered so from now on."""
        before = self.answered.copy()

        def is_seen(kind: str) -> bool:
            return any(self.answered[kind, one] > before[kind, one] for one in statuses)

        await until(lambda: all(map(is_seen, kinds)))

    async def until_well(self) -> None:
        """Wait until as many calls in a row as there are callers, and more, went well."""
        while not set(await self._next_answers()) <= {200, 201}:
            pass

    async def _next_answers(self) -> Counter[int]:
        before = self.statuses.copy()
        await until(lambda: (self.statuses - before).total() >= 4 * CALLERS)
        return self.statuses - before

    def _judge(self, answer: httpx.Response) -> None:
        self.statuses[answer.status_code] += 1
        if answer.status_code == 201:
            self.created.append(answer.json()["id"])
        elif answer.status_code != 200:
            body = answer.json()
            if list(body) != ["message", "requestId", "httpStatus"] or (
                body["httpStatus"] != answer.status_code
            ):
                self.unlike.append(answer.text)


@asynccontextmanager
async def load(whole: Whole) -> AsyncIterator[Load]:
    # What is not answered some seconds after the longest limit hangs.
    async with httpx.AsyncClient(base_url=whole.api, timeout=LIMIT * CREATE_TIMES + 6) as http:
        made = await http.post(REQUESTS, json={"type": "greet", "args": {"name": "ann"}})
        running = Load(http, made.json()["id"])
        async with asyncio.TaskGroup() as tasks:
            callers = [tasks.create_task(running.call(number)) for number in range(CALLERS)]
            await running.until_well()
            yield running
            await running.until_well()
            for caller in callers:
                caller.cancel()
        for request_id in running.created:
            assert (await http.get(f"{REQUESTS}/{request_id}")).status_code == 200


@pytest.mark.parametrize(("service", "kinds"), SERVICES)
async def test_a_killed_service_is_503_until_it_is_restarted(
    whole: Whole, service: str, kinds: set[str]
) -> None:
    async with load(whole) as running:
        os.kill(whole.pid(service), signal.SIGKILL)
        await running.until_seen({503}, kinds)

    assert running.unlike == []
    assert set(running.statuses) <= {200, 201, 503, 504}


@pytest.mark.parametrize(("service", "kinds"), SERVICES)
async def test_a_frozen_service_is_504_and_503_after_its_connection_is_closed(
    whole: Whole, service: str, kinds: set[str]
) -> None:
    async with load(whole) as running:
        with whole.frozen(service):
            # A create has six times as long, and the connection is given up before.
            await running.until_seen({504}, kinds - {"create"})
            await running.until_seen({503}, kinds)
            ready = await running.http.get("/readyz")

    assert running.unlike == []
    assert set(running.statuses) <= {200, 201, 503, 504}
    assert ready.status_code == 503
    assert ready.json()["services"][service.replace("-", " ")] == "not serving"
