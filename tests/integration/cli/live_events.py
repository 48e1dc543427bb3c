"""Events of a request that runs while spinc watches it."""

from __future__ import annotations

from tests.cli_samples import (
    COMPLETE,
    ID,
    RUNNING,
    at,
    status,
)
from tests.integration.cli.fake_services import FakeServices


def begin(services: FakeServices) -> None:
    """Set up a rolling restart whose first host is done and whose second one is running."""
    for job in (
        status("Plan", "plan-order", COMPLETE, started_at=at(0), finished_at=at(0.4)),
        status("D000", "drain", COMPLETE, started_at=at(1), finished_at=at(2)),
        status("R000", "restart", COMPLETE, started_at=at(2), finished_at=at(4)),
        status("E000", "enable", COMPLETE, started_at=at(4), finished_at=at(4.5)),
        status("D001", "drain", RUNNING, started_at=at(5), status="3 connections left"),
    ):
        services.job(job)
    services.request(ID, finished_jobs=9)


def end(services: FakeServices) -> None:
    for job in (
        status("D001", "drain", COMPLETE, started_at=at(5), finished_at=at(6)),
        status("R001", "restart", COMPLETE, 2, started_at=at(6), finished_at=at(7)),
        status("E001", "enable", COMPLETE, started_at=at(7), finished_at=at(8)),
        status("Rept", "report", COMPLETE, started_at=at(8), finished_at=at(8)),
    ):
        services.job(job)
    services.request(ID, state=COMPLETE, finished_jobs=18, finished_at=at(9))
