from __future__ import annotations

from tests.conformance.conftest import Stack


async def test_a_running_gateway_is_healthy(stack: Stack) -> None:
    await stack.manager.stop()

    answer = await stack.http.get("/healthz")

    assert answer.status_code == 200
    assert answer.json() == {"status": "ok"}


async def test_a_gateway_is_ready_when_its_services_are(stack: Stack) -> None:
    answer = await stack.http.get("/readyz")

    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ok",
        "services": {"request manager": "ok", "job log": "ok"},
    }


async def test_a_service_that_is_not_serving_is_named(stack: Stack) -> None:
    await stack.log.set_serving(False)

    answer = await stack.http.get("/readyz")

    assert answer.status_code == 503
    assert answer.json() == {
        "status": "not ready",
        "services": {"request manager": "ok", "job log": "not serving"},
    }
