"""The whole system answers as the original was recorded to answer, call by call."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.conformance.recorded import Recording, likeness, recordings
from tests.conformance.whole import Whole, started, until

from spincycle.runtime.version import VERSION

ALL = {recording.case: recording for recording in recordings()}
GREET, NOOP = "dc2bv338di11rbbsg6rg", "dc2bv338di11rbbsg6q0"
EACH, FAIL, TEST = "dc2bv338di11rbbsg710", "dc2bv338di11rbbsg70g", "dc2bv338di11rbbsg74g"
SLEEPER, SUSPENDED = "dc2bv3r8di11rbbsg7b0", "dc2bv4b8di11rbbsg7bg"

OTHERWISE: dict[str, tuple[int, str, str]] = {
    "create-err-arg-missing": (400, "", "500 for a client's fault"),
    "create-err-type-unknown": (400, "", "500 for a client's fault"),
    "finish-err-complete": (409, "", "500 for a client's fault"),
    "start-err-running": (409, "", "500 for a client's fault"),
    "log-job-err-unknown-job": (
        404,
        "job zzzz not found in request <request>",
        "the names are left out",
    ),
}
"""Where the answer is another one on purpose: status, message, and what was wrong with it."""


INSTEAD = {
    "log-job": ('"greet_begin"', '"request_greet_begin"'),
    "log-failed": ('"exit":1', '"exit":2'),
    "version": ("2.1.1", VERSION),
    "jr-version": ("2.1.1", VERSION),
}
"""Replacements in the recorded responses, by case: a job that does not exist here, the exit code
of the program, and the version."""


class System:
    """All services, and the ids here for those in the recordings."""

    def __init__(self, api: str, runner: str) -> None:
        self.clients = {"rm": httpx.Client(base_url=api), "jr": httpx.Client(base_url=runner)}
        self.names: dict[str, str] = {}
        self.answers: dict[str, httpx.Response] = {}

    def close(self) -> None:
        """End the connections."""
        for client in self.clients.values():
            client.close()

    def play(self, *cases: str) -> None:
        """Make the calls of these recordings."""
        for case in cases:
            recording = ALL[case]
            self.answers[case] = self.clients[recording.server].request(
                recording.method,
                self._named(recording.path),
                content=self._named(recording.content or ""),
                headers=dict(recording.headers),
            )

    def create(self, recorded_id: str, case: str = "", **body: Any) -> None:
        """Create a request, by its recording if there is one."""
        if case:
            self.play(case)
            answer = self.answers[case]
        else:
            answer = self.clients["rm"].post("/api/v1/requests", json=body)
        self.names[recorded_id] = answer.json()["id"]

    def get(self, recorded_id: str, more: str = "") -> Any:
        """What the API says of a request."""
        answer = self.clients["rm"].get(f"/api/v1/requests/{self.names[recorded_id]}{more}")
        return answer.json()

    def until_state(self, recorded_id: str, state: int) -> None:
        """Wait until a request is in a state."""
        until(lambda: self.get(recorded_id)["state"] == state)

    def _named(self, text: str) -> str:
        for recorded, here in self.names.items():
            text = text.replace(recorded, here)
        return text


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    """Everything on one machine with the specs of the recordings, after all their calls."""
    with started() as whole, contextlib.closing(System(whole.api, whole.runner)) as system:
        play_all(system, whole)
        yield system


def play_all(system: System, whole: Whole) -> None:
    """Make the calls of all recordings, in the order in which they were made."""
    before_any_request(system)
    requests_that_end(system)
    a_request_that_runs(system)
    a_request_that_is_suspended(system, whole)


def before_any_request(system: System) -> None:
    system.play(
        "version",
        "jr-version",
        "request-list",
        "list-empty",
        "status-running-none-ever",
        "create-err-arg-missing",
        "create-err-empty-body",
        "create-err-malformed-json",
        "create-err-type-unknown",
        "get-err-not-found",
        "job-chain-err-not-found",
        "log-err-not-found",
        "stop-err-not-found",
        "list-err-limit-text",
        "list-err-state-foo",
        "jr-new-err-cyclic",
        "jr-stop-err-not-found",
        "route-err-404",
        "route-err-trailing-slash",
    )


def requests_that_end(system: System) -> None:
    system.create(NOOP, "create-noop")
    system.create(GREET, "create-greet-all-args")
    system.create("", "create-greet-default")
    system.names.pop("")
    system.create(FAIL, type="fail")
    system.create(EACH, "create-each")
    system.create(TEST, "create-test")
    for ended in (NOOP, GREET, EACH, TEST):
        system.until_state(ended, 3)
    system.until_state(FAIL, 4)
    system.names["0wkV"] = job_named(system, GREET, "request_greet_begin")
    system.play(
        "get-complete",
        "get-each",
        "get-failed",
        "get-test",
        "job-chain",
        "log-complete",
        "log-failed",
        "log-job",
        "log-job-err-unknown-job",
        "log-create",
        "finish-err-complete",
        "progress-err-mismatch",
        "stop-complete",
    )


def a_request_that_runs(system: System) -> None:
    system.create(SLEEPER, type="sleeper", args={"duration": "60000"})
    running = system.clients["jr"]
    until(lambda: len(running.get("/api/v1/status/running").json()) == 2)
    until(lambda: len(system.get(SLEEPER, "/log")) == 2)
    system.play(
        "get-running",
        "list-all",
        "list-limit-1",
        "list-since",
        "list-state-two",
        "list-type",
        "log-running",
        "jr-status-running",
        "status-running",
        "start-err-running",
        "progress-running",
        "stop-running",
    )
    system.until_state(SLEEPER, 6)
    system.play("get-stopped", "status-running-none-now")


def a_request_that_is_suspended(system: System, whole: Whole) -> None:
    system.create(SUSPENDED, type="sleeper", args={"duration": "3000"})
    system.until_state(SUSPENDED, 2)
    sent = json.loads(ALL["suspend-running"].content or "")
    sent["requestId"] = system.names[SUSPENDED]
    sent["jobChain"] = system.get(SUSPENDED)["JobChain"]
    path = f"/api/v1/requests/{system.names[SUSPENDED]}/suspend"
    # The request continues once a runner has it; the original polled every ten seconds.
    with whole.frozen("job-runner"):
        system.answers["suspend-running"] = system.clients["rm"].put(path, json=sent)
        system.play("get-suspended")


def job_named(system: System, recorded_id: str, name: str) -> str:
    chain = system.get(recorded_id, "/job-chain")
    found: str = next(job_id for job_id, job in chain["jobs"].items() if job["name"] == name)
    return found


def test_every_recording_is_replayed(system: System) -> None:
    assert set(system.answers) == set(ALL)


@pytest.mark.parametrize("recording", ALL.values(), ids=list(ALL))
def test_a_response_equals_the_recorded_one(system: System, recording: Recording) -> None:
    answer = system.answers[recording.case]
    status, message, _ = OTHERWISE.get(recording.case, (recording.status, "", ""))

    assert answer.status_code == status
    assert answer.headers.get("content-type") == recording.answered.get("Content-Type")
    assert ("location" in answer.headers) == ("Location" in recording.answered)
    recorded = recording.body.replace(*INSTEAD.get(recording.case, ("", "")))
    here, there = likeness(answer.text), likeness(recorded)
    if "httpStatus" in recording.body:
        here, there = output(here, answer.status_code), output(there, recording.status)
        there["message"] = message or there["message"]
    if recording.case in {"list-all", "list-since"}:
        here, there = sorted(here), sorted(one for one in there if one in here)
        assert here
    assert here == there


def output(failure: list[tuple[str, Any]], status: int) -> dict[str, Any]:
    """A failure without the request that it is about, which the original never filled in."""
    assert [key for key, _ in failure] == ["message", "requestId", "httpStatus"]
    assert dict(failure)["httpStatus"] == status
    return {"message": dict(failure)["message"]}
