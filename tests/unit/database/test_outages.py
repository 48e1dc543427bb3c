from __future__ import annotations

import ssl

import asyncpg
import pytest
from structlog.testing import capture_logs

from spincycle.database.availability import (
    FAILURES_IN_A_ROW,
    RESOURCE_QUIET,
    STATEMENT_BLOCKS,
    STATEMENT_QUIET,
    Availability,
)
from spincycle.database.outages import (
    NO_CONNECTION,
    OUTAGES,
    STATEMENT_TIMEOUT,
    UNREACHABLE,
    Outage,
    Scope,
    outage_of,
)


def raised(sqlstate: str) -> asyncpg.PostgresError:
    return asyncpg.PostgresError.new({"S": "ERROR", "C": sqlstate, "M": "said"})


@pytest.mark.parametrize(
    ("sqlstate", "name"),
    [
        ("08006", "connection lost"),
        ("25006", "read-only"),
        ("25P04", "transaction timeout"),
        ("28P01", "access refused"),
        ("3D000", "database missing"),
        ("40001", "transaction rolled back"),
        ("40P01", "transaction rolled back"),
        ("53000", "out of resources"),
        ("53100", "disk full"),
        ("53200", "out of memory"),
        ("53300", "too many connections"),
        ("53400", "configured limit exceeded"),
        ("55P03", "lock timeout"),
        ("57014", "statement cancelled"),
        ("57P01", "shutting down or starting"),
        ("57P02", "shutting down or starting"),
        ("57P03", "shutting down or starting"),
        ("58030", "I/O error"),
    ],
)
def test_a_transient_error_is_an_outage(sqlstate: str, name: str) -> None:
    outage = outage_of(raised(sqlstate))

    assert outage is not None
    assert outage.name == name


@pytest.mark.parametrize(
    "error",
    [
        *(
            raised(sqlstate)
            for sqlstate in (
                "0A000",
                "22P02",
                "23505",
                "25P02",
                "42501",
                "42601",
                "42703",
                "42P01",
                "54000",
                "55000",
                "58P01",
                "P0001",
                "XX000",
                "XX001",
            )
        ),
        asyncpg.exceptions._base.DataError("invalid input for query argument $1"),
        ValueError("not a value"),
        KeyError("name"),
    ],
    ids=repr,
)
def test_a_permanent_error_is_not_an_outage(error: Exception) -> None:
    assert outage_of(error) is None


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        ssl.SSLCertVerificationError("expired"),
        asyncpg.InterfaceError("connection is closed"),
        asyncpg.InternalClientError("cannot switch to state 12"),
    ],
)
def test_a_failed_connection_is_an_outage(error: Exception) -> None:
    assert outage_of(error) is UNREACHABLE


def test_a_timeout_is_the_outage_that_the_caller_names() -> None:
    assert outage_of(TimeoutError()) is STATEMENT_TIMEOUT
    assert outage_of(TimeoutError(), NO_CONNECTION) is NO_CONNECTION


def test_each_name_is_used_once() -> None:
    assert len({outage.name for outage in OUTAGES.values()}) == len(OUTAGES)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


DISK_FULL = OUTAGES["53100"]
CANCELLED = OUTAGES["57014"]
LOST = OUTAGES["08"]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def availability(clock: Clock) -> Availability:
    return Availability(clock)


def fail(availability: Availability, outage: Outage, query: str = "append", times: int = 1) -> None:
    for _ in range(times):
        availability.failed(outage, query, raised(outage.sqlstate.ljust(5, "0")))


def test_one_successful_statement_ends_an_outage_of_the_server(
    availability: Availability,
) -> None:
    fail(availability, LOST)
    assert not availability.available

    availability.succeeded("read")

    assert availability.available


def test_a_successful_read_does_not_end_an_outage_of_a_resource(
    availability: Availability, clock: Clock
) -> None:
    fail(availability, DISK_FULL)
    clock.now += 10 * RESOURCE_QUIET

    availability.succeeded("read")

    assert not availability.available


@pytest.mark.parametrize("ended_by", ["append", "probe"])
def test_an_outage_of_a_resource_ends_some_time_after_its_last_failure(
    availability: Availability, clock: Clock, ended_by: str
) -> None:
    fail(availability, DISK_FULL)
    if ended_by == "probe":
        availability.probed("write")
    else:
        availability.succeeded("append")
    assert not availability.available

    clock.now += RESOURCE_QUIET

    assert availability.available


def test_one_cancelled_statement_leaves_the_database_available(availability: Availability) -> None:
    fail(availability, CANCELLED, "append", FAILURES_IN_A_ROW - 1)
    fail(availability, CANCELLED, "read", FAILURES_IN_A_ROW - 1)

    assert availability.available


def test_a_query_that_is_cancelled_in_a_row_makes_the_database_unavailable_until_it_succeeds(
    availability: Availability,
) -> None:
    for _ in range(FAILURES_IN_A_ROW):
        fail(availability, CANCELLED)
        availability.succeeded("read")
    assert not availability.available

    availability.succeeded("append")

    assert availability.available


def test_a_cancelled_query_that_is_not_run_again_does_not_keep_the_database_unavailable(
    availability: Availability, clock: Clock
) -> None:
    fail(availability, CANCELLED, times=FAILURES_IN_A_ROW)
    assert not availability.available

    clock.now += STATEMENT_BLOCKS

    assert availability.available


@pytest.mark.parametrize("outage", [LOST, DISK_FULL, CANCELLED], ids=lambda outage: outage.name)
def test_an_outage_is_logged_at_its_start_and_its_end(
    availability: Availability, clock: Clock, outage: Outage
) -> None:
    with capture_logs() as logs:
        for _ in range(20):
            fail(availability, outage)
            if outage.scope is not Scope.SERVER:
                availability.succeeded("read")
        clock.now += STATEMENT_QUIET
        availability.succeeded("append")
        availability.succeeded("append")

    assert [(entry["log_level"], entry["cause"]) for entry in logs] == [
        ("warning", outage.name),
        ("info", outage.name),
    ]
    assert all(entry["sqlstate"].startswith(outage.sqlstate) for entry in logs)
