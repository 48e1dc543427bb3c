"""Refused calls are logged without filling the log."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from spincycle.errors import NotAuthenticated
from spincycle.rpc.identification import RefusalLog, RefusedCall


def refused(method: str = "/spincycle.v1.JobLogService/Tail", caller: str = "") -> RefusedCall:
    return RefusedCall(method, caller, "ipv4:192.0.2.1:5", NotAuthenticated("no credential"))


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def log(now: list[float]) -> RefusalLog:
    return RefusalLog(kinds=3, clock=lambda: now[0])


def test_equal_refusals_are_logged_once_and_then_with_their_number(
    log: RefusalLog, now: list[float]
) -> None:
    with capture_logs() as logs:
        for _ in range(1000):
            log(refused())
        now[0] = 60.0
        log(refused())

    assert [(each["event"], each.get("repeats")) for each in logs] == [
        ("call refused", None),
        ("calls refused repeatedly", 999),
        ("call refused", None),
    ]


def test_many_kinds_of_refusals_do_not_fill_the_log(log: RefusalLog) -> None:
    with capture_logs() as logs:
        for number in range(1000):
            log(refused(caller=str(number)))

    assert len(logs) == 3
