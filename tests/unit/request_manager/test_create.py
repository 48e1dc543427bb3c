from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

import pytest

from spincycle.access.limits import CallerLimits
from spincycle.access.rules import Rules
from spincycle.model.job_chain import JobChain, Value
from spincycle.request_manager.requests.access_control import AccessControl
from spincycle.request_manager.requests.create import BuiltRequest, CreateParams, RequestCreator
from spincycle.request_manager.runners.dispatcher import Dispatcher
from spincycle.request_manager.storage.archive_store import ArchiveStore
from spincycle.request_manager.storage.change_bus import ChangeBus
from spincycle.request_manager.storage.model import Assignment, NewRequest
from spincycle.request_manager.storage.request_store import RequestStore
from spincycle.spec import SpecSet

SPECS = SpecSet("", {}, {})


class Recorder:
    """Collaborators of a creator, which record the order of events."""

    def __init__(self) -> None:
        self.happened: list[str] = []
        self.writing = asyncio.Event()
        self.may_commit = asyncio.Event()
        changes = ChangeBus()
        changes.subscribe(lambda _: self.happened.append("published"))
        self.creator = RequestCreator(
            self,
            lambda _: b"",
            cast("RequestStore", self),
            cast("ArchiveStore", self),
            cast("Dispatcher", self),
            changes,
            access=AccessControl(Rules(is_open=True), lambda: SPECS),
            limits=CallerLimits(),
        )

    async def build(self, type_: str, args: dict[str, Value], request_id: str) -> BuiltRequest:
        return BuiltRequest(JobChain(request_id), [], plan_hash="", spec_revision="")

    async def pick_runners(
        self, requirements: Mapping[str, object]
    ) -> tuple[dict[str, str], float]:
        return dict.fromkeys(requirements, "runner"), 1.0

    async def create(
        self, requests: Sequence[NewRequest], runners: Mapping[str, str], lease: float
    ) -> set[str]:
        self.writing.set()
        await self.may_commit.wait()
        self.happened.append("committed")
        return {request.request_id for request in requests}

    def send(self, assigned: Assignment, job_chain: bytes) -> None:
        self.happened.append("sent")

    async def call(self) -> Any:
        created = await self.creator.create(CreateParams("restart"))
        self.happened.append("returned")
        return created


@pytest.fixture
async def recorder() -> Recorder:
    return Recorder()


async def test_a_create_returns_after_the_commit_and_before_the_dispatch(
    recorder: Recorder,
) -> None:
    recorder.may_commit.set()
    await recorder.call()
    await asyncio.sleep(0)

    assert recorder.happened == ["committed", "returned", "sent", "published"]


async def test_a_request_whose_caller_cancels_during_the_write_is_sent_and_published(
    recorder: Recorder,
) -> None:
    caller = asyncio.create_task(recorder.call())
    await recorder.writing.wait()
    caller.cancel()
    with suppress(asyncio.CancelledError):
        await caller
    recorder.may_commit.set()
    for _ in range(5):
        await asyncio.sleep(0)

    assert recorder.happened == ["committed", "sent", "published"]
