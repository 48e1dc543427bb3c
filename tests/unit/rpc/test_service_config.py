"""The published service config is the one that our own channels use, and it names real methods."""

from __future__ import annotations

import json
from pathlib import Path

from google.protobuf import descriptor_pool

from spincycle.rpc.channel import SERVICE_CONFIG
from spincycle.v1 import job_log_service_pb2, request_manager_service_pb2

PUBLISHED = Path(__file__).parents[3] / "protos/spincycle/v1/grpc_service_config.json"
NEVER_TWICE = {"Create", "Rerun", "Skip"}


def test_the_published_file_is_what_the_code_says() -> None:
    assert PUBLISHED.read_text(encoding="utf-8") == f"{SERVICE_CONFIG}\n", "run make generate"


def test_every_method_that_is_retried_exists_and_can_be_made_twice() -> None:
    assert request_manager_service_pb2.DESCRIPTOR
    assert job_log_service_pb2.DESCRIPTOR
    pool = descriptor_pool.Default()
    names = [
        name for method in json.loads(SERVICE_CONFIG)["methodConfig"] for name in method["name"]
    ]

    assert names
    for name in names:
        service = pool.FindServiceByName(name["service"])
        assert name["method"] in service.methods_by_name
        assert name["method"] not in NEVER_TWICE
