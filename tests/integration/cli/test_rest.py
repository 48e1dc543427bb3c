from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.cli_samples import (
    COMPLETE,
    FAIL,
    ID,
    RUNNING,
    at,
    entry,
    spec_arg,
    status,
    text_arg,
)
from tests.integration.cli.conftest import Ran, Tty
from tests.integration.cli.creation import with_plan
from tests.integration.cli.fake_services import FakeServices, Memory
from tests.integration.cli.live_events import begin, end

Spinc = Callable[..., Ran]


@pytest.fixture
def full(services: FakeServices) -> FakeServices:
    """Services with data for every command."""
    with_plan(services)
    services.entry(entry("Plan", "plan-order", position=1))
    services.entry(entry("D000", "drain", FAIL, position=2, error="no", finished_at=at(7)))

    def fill(memory: Memory) -> None:
        known = memory.requests[ID]
        known.args.append(text_arg("hosts", "web1,web 2"))
        known.runner_address = "127.0.0.1:32311"
        known.state_message = "waits for a person"
        known.plan_hash, known.specs_hash, known.epoch = "ab12", "r1", 3
        memory.specs[0].args.append(spec_arg("password", "", "", secret=True))
        memory.running.silent_runner_ids.append("runner-7")
        memory.running.status.jobs.append(
            status("D000", "drain", RUNNING, status="3 left", started_at=at(1))
        )
        memory.running.status.requests[ID].CopyFrom(known)
        memory.running.has_running_requests = True
        memory.explained.state = RUNNING
        memory.explained.jobs.add(
            job_id="D001",
            name="drain",
            message="waits for its turn",
            path="restart-host web2 / drain",
        )

    services.update(fill)
    return services


@pytest.mark.parametrize(
    "args",
    [
        ["-o", "name"],
        ["-o", "json"],
        ["help", "greet", "-o", "json"],
        ["status", ID, "-o", "name"],
        ["info", ID, "-o", "json"],
        ["find", "-o", "yaml"],
        ["log", ID, "-o", "json"],
        ["log", ID, "--failed", "-o", "json"],
        ["ps", "-o", "json"],
        ["find"],
        ["find", "states=running", "args=hosts=web1", "since=2026-11-23 00:00:00 UTC"],
        ["log", ID],
        ["log", ID, "--failed"],
        ["log", ID, "--job", "plan-order"],
        ["log", ID, "web1/drain"],
        ["log", ID, "web1/drian"],
        ["log", ID, "web1"],
        ["running", ID],
        ["whoami", "-o", "json"],
        ["audit", "-o", "json"],
        ["audit", ID, "--denied", "--since", "90m", "--operation", "stop", "--limit", "2"],
        ["can", "start", "greet"],
        ["can", "stop", ID, "-o", "json"],
        ["explain", ID],
        ["explain", ID, "web2 / drain"],
        ["explain", ID, "drain"],
        ["plan", "rolling-restart", "hosts=web1,web2"],
        ["start", "greet", "name=zoe", "-o", "name"],
        ["stop", ID],
        ["suspend", ID],
        ["resume", ID],
        ["rerun", ID, "-o", "name"],
        ["skip", ID, "D000", "--reason", "by hand", "-o", "name"],
        ["status", "vvvvvvvvvvvvvvvvvvvv"],
        ["start", "greet"],
    ],
)
def test_the_gateway_gives_the_same_output_as_grpc(
    full: FakeServices, spinc: Spinc, args: list[str]
) -> None:
    assert spinc("--rest", full.gateway, *args) == spinc(*args)


@pytest.mark.parametrize("args", [["status", ID], ["info", ID], ["ps"]])
def test_the_gateway_gives_the_same_output_except_for_elapsed_time(
    full: FakeServices, spinc: Spinc, args: list[str], screen_is: Callable[[str, str], None]
) -> None:
    screen_is(f"rest-{args[0]}", spinc(*args).out)
    screen_is(f"rest-{args[0]}", spinc("--rest", full.gateway, *args).out)


def test_a_request_is_watched_through_the_gateway(
    services: FakeServices, tty: Callable[..., Tty]
) -> None:
    begin(services)
    spinc = tty("--rest", services.gateway, "watch", ID, NO_COLOR="1")
    spinc.see("3 connections left")

    end(services)

    assert spinc.end() == 0
    assert "├─ ✔ restart-host web2" in spinc.screen.text
    assert "│  ├─ ✔ drain" in spinc.screen.text


def test_ctrl_c_ends_a_watch_through_the_gateway(
    services: FakeServices, tty: Callable[..., Tty]
) -> None:
    begin(services)
    spinc = tty("watch", ID, SPINC_ADDR=services.gateway)
    spinc.see("3 connections left")

    spinc.child.sendintr()

    assert spinc.end() == 130


def test_a_log_is_followed_through_the_gateway(services: FakeServices, spinc: Spinc) -> None:
    services.entry(entry("A000", "drain", position=1))
    services.request(ID, state=COMPLETE)

    ran = spinc("--rest", services.gateway, "log", ID, "--follow", "-o", "name")

    assert ran.out.split() == ["A000/1"]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:1", "the gateway at http://127.0.0.1:1 cannot be reached"),
        ("nonsense", '"nonsense" is not the URL of a gateway'),
    ],
)
def test_an_unreachable_gateway_is_reported(spinc: Spinc, url: str, message: str) -> None:
    ran = spinc("--rest", url, "status", ID)

    assert ran.code == 1
    assert message in ran.err
