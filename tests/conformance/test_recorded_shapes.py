"""Every body that the original was recorded to send, read and written again by our tables."""

from __future__ import annotations

import json

import pytest
from tests.conformance.recorded import Recording, recordings

from spincycle.rest_codec.codecs import Codec, JsonPath
from spincycle.rest_codec.encoding import to_text
from spincycle.rest_codec.messages import (
    CREATED_REQUEST,
    ERROR,
    JOB_CHAIN,
    JOB_LOG,
    JOB_STATUS,
    LISTED_REQUEST,
    REQUEST,
    REQUEST_SPEC,
    RUNNING_STATUS,
)
from spincycle.rest_codec.tables import ListOf

SHAPES: dict[str, Codec] = {
    "create": CREATED_REQUEST,
    "get": REQUEST,
    "job-chain": JOB_CHAIN,
    "jr-status-running": ListOf(JOB_STATUS),
    "list": ListOf(LISTED_REQUEST, null=True),
    "log": ListOf(JOB_LOG),
    "log-create": JOB_LOG,
    "log-job": JOB_LOG,
    "request-list": ListOf(REQUEST_SPEC),
    "status-running": RUNNING_STATUS,
}


def shape(recording: Recording) -> Codec | None:
    if '"httpStatus"' in recording.body:
        return ERROR
    known = [case for case in SHAPES if recording.case.startswith(case)]
    return SHAPES[max(known, key=len)] if known and recording.status < 300 else None


@pytest.mark.parametrize(
    "recording",
    [recording for recording in recordings() if shape(recording)],
    ids=lambda recording: recording.case,
)
def test_a_recorded_body_is_reproduced_byte_for_byte(recording: Recording) -> None:
    kind = shape(recording)
    assert kind
    value = json.loads(recording.body)

    message = kind.zero if value is None else kind.decode(value, JsonPath())

    assert to_text(kind.encode(message)).decode() == recording.body
