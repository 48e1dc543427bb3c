"""A request with default fields."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from spincycle.model.state import State
from spincycle.request_manager.storage.model import Request


def a_request(state: State = State.RUNNING, **more: Any) -> Request:
    known: dict[str, Any] = {
        "request_id": "r",
        "type": "t",
        "state": state,
        "user": "dana",
        "created_at": datetime(2027, 1, 1, tzinfo=UTC),
        "started_at": None,
        "finished_at": None,
        "total_jobs": 3,
        "finished_jobs": 0,
        "rolled_back_jobs": 0,
        "epoch": 1,
        "runner_id": "one",
        "runner_address": "",
        "priority": 0,
        "reason": "",
        "spec_revision": "",
        "plan_hash": "",
        "rerun_of": "",
        "desired_state": None,
    }
    return Request(**(known | more))
