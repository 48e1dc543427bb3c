from __future__ import annotations

import json
from typing import cast

import yaml
from tests.cli_samples import COMPLETE, at, request, rolling_restart_chain, text_arg

from spincycle.cli.render.machine import dump, to_plain
from spincycle.v1 import job_log_pb2, request_manager_service_pb2


def test_states_are_names_times_are_rfc_3339_and_unset_fields_are_null() -> None:
    plain = to_plain(request(state=COMPLETE))

    assert isinstance(plain, dict)
    assert plain["state"] == "COMPLETE"
    assert plain["createdAt"] == "2026-11-23T22:34:52Z"
    assert plain["finishedAt"] is None
    assert plain["finishedJobs"] == 0


def test_numbers_of_64_bits_stay_numbers() -> None:
    plain = to_plain(job_log_pb2.JobLog(exit=-1, started_at=at(0)))

    assert isinstance(plain, dict)
    assert plain["exit"] == -1


def test_values_are_plain_and_secrets_are_masked() -> None:
    arg = text_arg("password", "hunter2", secret=True)

    assert "hunter2" not in dump(to_plain(request(args=[arg])), "json")
    assert '"value": "x"' in dump(to_plain(request(args=[text_arg("a", "x")])), "json")


def test_page_tokens_are_left_out() -> None:
    explained = request_manager_service_pb2.ExplainResponse(message="queued", next_page_token="x")

    assert "nextPageToken" not in cast("dict[str, object]", to_plain(explained))


def test_bytes_of_jobs_are_left_out() -> None:
    chain = rolling_restart_chain()
    chain.jobs[0].bytes = b"secret state"

    assert '"bytes"' not in dump(to_plain(chain), "json")


def test_json_and_yaml_have_the_same_content() -> None:
    plain = to_plain(request())

    assert json.loads(dump(plain, "json")) == yaml.safe_load(dump(plain, "yaml")) == plain
