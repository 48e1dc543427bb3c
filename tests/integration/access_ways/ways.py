"""The ways by which callers reach the services; each attempts operations and names the outcome."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import grpc
import httpx
from click.testing import CliRunner
from tests.integration.access_ways.people import token
from tests.security.installation import Installation

from spincycle.cli.problem import Problem
from spincycle.cli.spinc import spinc
from spincycle.identity.service_identity import GATEWAY, JOB_LOG, REQUEST_MANAGER
from spincycle.rpc.status import from_rpc_error
from spincycle.v1 import job_log_service_pb2 as jl
from spincycle.v1 import request_manager_service_pb2 as rm
from spincycle.v1 import spec_service_pb2
from spincycle.v1.job_log_service_pb2_grpc import JobLogServiceStub
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub
from spincycle.v1.spec_service_pb2_grpc import SpecServiceStub

OK, DENIED, HIDDEN, UNKNOWN = "ok", "denied", "hidden", "unknown"
"""Outcomes: it is done, or the state of the request does not allow it; the caller may not; there is
no such request for the caller; the caller is not authenticated."""

OUTCOMES = {
    "": OK,
    # The use case refuses these, so the caller may do it.
    "INVALID_STATE": OK,
    "ACCESS_DENIED": DENIED,
    "REQUEST_NOT_FOUND": HIDDEN,
    "NOT_AUTHENTICATED": UNKNOWN,
}
"""Outcomes by error reason; any other reason is a fault of the test."""

STATUSES = {200: OK, 201: OK, 409: OK, 403: DENIED, 404: HIDDEN, 401: UNKNOWN}
"""Outcomes by HTTP status."""

TYPE = "guarded"
TIMEOUT = 20.0


@dataclass(frozen=True)
class Subject:
    """A request that has failed.

    Attributes:
        id: the request.
        job: id of the job that failed.
    """

    id: str
    job: str


class Way(Protocol):
    """One way by which callers reach the services."""

    @property
    def operations(self) -> Mapping[str, Any]: ...

    def attempt(self, operation: str, caller: str, subject: Subject) -> set[str]:
        """Attempt an operation by all calls that it has; return the outcomes."""
        ...


class GrpcWay:
    """Calls of the public listeners."""

    def __init__(self, manager: grpc.Channel, log: grpc.Channel) -> None:
        # The stubs are typed for channels of asyncio.
        self.requests: Any = RequestManagerServiceStub(cast("Any", manager))
        self.specs: Any = SpecServiceStub(cast("Any", manager))
        self.log: Any = JobLogServiceStub(cast("Any", log))

    @property
    def operations(self) -> Mapping[str, Callable[[Subject], list[tuple[Any, Any]]]]:
        """Calls by operation, each a method and its message."""
        requests, log = self.requests, self.log
        return {
            "view": lambda one: [
                (requests.Get, rm.GetRequest(request_id=one.id)),
                (requests.GetJobChain, rm.GetJobChainRequest(request_id=one.id)),
                (requests.StreamJobChain, rm.StreamJobChainRequest(request_id=one.id)),
                (requests.Explain, rm.ExplainRequest(request_id=one.id)),
                (requests.Watch, rm.WatchRequest(request_ids=[one.id])),
                (log.GetEntry, jl.GetEntryRequest(request_id=one.id, job_id=one.job)),
                (log.ListEntries, jl.ListEntriesRequest(request_id=one.id)),
                (log.Tail, jl.TailRequest(request_id=one.id)),
            ],
            "start": lambda _: [
                (requests.Create, rm.CreateRequest(type=TYPE)),
                (requests.Plan, rm.PlanRequest(type=TYPE)),
            ],
            "start-again": lambda one: [(requests.Start, rm.StartRequest(request_id=one.id))],
            "stop": lambda one: [(requests.Stop, rm.StopRequest(request_id=one.id))],
            "suspend": lambda one: [(requests.Suspend, rm.SuspendRequest(request_id=one.id))],
            "resume": lambda one: [(requests.Resume, rm.ResumeRequest(request_id=one.id))],
            "rerun": lambda one: [
                (requests.Rerun, rm.RerunRequest(request_id=one.id, allow_concurrent=True))
            ],
            "skip": lambda one: [
                (
                    requests.Skip,
                    rm.SkipRequest(
                        request_id=one.id, job_ids=[one.job], reason="x", allow_concurrent=True
                    ),
                )
            ],
            "admin": lambda _: [
                (self.specs.ReloadSpecs, spec_service_pb2.ReloadSpecsRequest()),
                (self.specs.Lint, spec_service_pb2.LintRequest()),
            ],
        }

    def attempt(self, operation: str, caller: str, subject: Subject) -> set[str]:
        """See Way."""
        calls = self.operations[operation](subject)
        return {OUTCOMES[self._reason(method, message, caller)] for method, message in calls}

    def _reason(self, method: Any, message: Any, caller: str) -> str:
        try:
            response = method(message, metadata=metadata(caller), timeout=TIMEOUT)
            if isinstance(response, Iterator):
                for _ in response:
                    pass
        except grpc.RpcError as failure:
            return from_rpc_error(failure, "service", "").reason  # type: ignore[arg-type] # blocking calls raise calls
        return ""


class RestWay:
    """Calls of the gateway."""

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    @property
    def operations(self) -> Mapping[str, Callable[[Subject], list[tuple[str, str, Any]]]]:
        """Calls by operation, each a method, a path and a body."""
        one = "/api/v1/requests/{0.id}"
        return {
            "view": lambda subject: [
                ("GET", path.format(subject), None)
                for path in (
                    one,
                    f"{one}/job-chain",
                    f"{one}/explain",
                    f"{one}/log/{{0.job}}",
                    "/api/v1/full/requests/{0.id}",
                    "/api/v1/full/requests/{0.id}/log",
                )
            ],
            "start": lambda _: [
                ("POST", "/api/v1/requests", {"type": TYPE}),
                ("POST", "/api/v1/plans", {"type": TYPE}),
            ],
            "start-again": lambda subject: [("PUT", f"{one}/start".format(subject), None)],
            "stop": lambda subject: [("PUT", f"{one}/stop".format(subject), None)],
            "suspend": lambda subject: [("POST", f"{one}/suspend".format(subject), {})],
            "resume": lambda subject: [("POST", f"{one}/resume".format(subject), {})],
            "rerun": lambda subject: [
                ("POST", f"{one}/rerun".format(subject), {"allowConcurrent": True})
            ],
            "skip": lambda subject: [
                (
                    "POST",
                    f"{one}/skip".format(subject),
                    {"jobId": subject.job, "reason": "x", "allowConcurrent": True},
                )
            ],
            "admin": lambda _: [
                ("POST", "/api/v1/specs/reload", {}),
                ("POST", "/api/v1/lint", {"files": []}),
            ],
        }

    def attempt(self, operation: str, caller: str, subject: Subject) -> set[str]:
        """See Way."""
        answers = [
            self._http.request(method, path, json=body, headers=headers(caller))
            for method, path, body in self.operations[operation](subject)
        ]
        return {STATUSES[answer.status_code] for answer in answers}


class EventWay:
    """Event streams of the gateway."""

    operations: Mapping[str, Any] = {"view": None}

    def __init__(self, http: httpx.Client) -> None:
        self._http = http

    def attempt(self, operation: str, caller: str, subject: Subject) -> set[str]:
        """See Way."""
        path = f"/api/v1/requests/{subject.id}/events"
        with self._http.stream("GET", path, headers=headers(caller)) as answer:
            text = "".join(answer.iter_text())
        assert (answer.status_code == 200) == ("event: snapshot" in text), text
        return {STATUSES[answer.status_code]}


class SpincWay:
    """Commands of spinc, over gRPC or REST."""

    def __init__(self, home: Path, *addresses: str) -> None:
        self._home = home
        self._addresses = addresses

    @property
    def operations(self) -> Mapping[str, Callable[[Subject], list[list[str]]]]:
        """Commands by operation."""
        return {
            "view": lambda one: [
                [command, one.id] for command in ("status", "info", "explain", "log", "watch")
            ],
            "stop": lambda one: [["stop", one.id]],
            "suspend": lambda one: [["suspend", one.id]],
            "resume": lambda one: [["resume", one.id]],
            "rerun": lambda one: [["rerun", one.id, "--again"]],
            "skip": lambda one: [["skip", one.id, one.job, "--reason", "x", "--again"]],
        }

    def attempt(self, operation: str, caller: str, subject: Subject) -> set[str]:
        """See Way."""
        commands = self.operations[operation](subject)
        return {OUTCOMES[self.run(command, caller)[0]] for command in commands}

    def run(self, command: list[str], caller: str) -> tuple[str, str]:
        """Run a command; return the reason for which it failed, and its output."""
        environment = {"HOME": str(self._home), "SPINC_TOKEN": token(caller) or None}
        ran = CliRunner().invoke(spinc, [*self._addresses, *command], env=environment)
        if isinstance(ran.exception, Problem):
            assert ran.exception.reason, ran.exception.message
            return ran.exception.reason, ran.output
        if ran.exception is not None and not isinstance(ran.exception, SystemExit):
            raise ran.exception
        return "", ran.output


def metadata(caller: str) -> tuple[tuple[str, str], ...]:
    """Return the metadata of a gRPC call."""
    return (("authorization", f"Bearer {token(caller)}"),) if token(caller) else ()


def headers(caller: str) -> dict[str, str]:
    """Return the headers of an HTTP call."""
    return {name.title(): value for name, value in metadata(caller)}


@dataclass(frozen=True)
class Ways:
    """All ways into one installation."""

    grpc: GrpcWay
    rest: RestWay
    events: EventWay
    spinc: SpincWay
    spinc_rest: SpincWay
    http: httpx.Client

    def __getitem__(self, name: str) -> Way:
        way: Way = getattr(self, name)
        return way


NAMES = ("grpc", "rest", "events", "spinc", "spinc_rest")


@contextmanager
def open_ways(installation: Installation) -> Iterator[Ways]:
    """Connect to an installation in each way."""
    manager, log = installation.public[REQUEST_MANAGER], installation.public[JOB_LOG]
    url = f"http://{installation.public[GATEWAY]}"
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    with (
        grpc.insecure_channel(manager) as manager_channel,
        grpc.insecure_channel(log) as log_channel,
        httpx.Client(base_url=url, timeout=TIMEOUT) as http,
    ):
        yield Ways(
            GrpcWay(manager_channel, log_channel),
            RestWay(http),
            EventWay(http),
            SpincWay(installation.home, "--addr", manager, "--job-log", log),
            SpincWay(installation.home, "--rest", url),
            http,
        )
