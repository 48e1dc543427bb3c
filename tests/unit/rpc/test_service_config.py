"""The published service configs match our channels and name existing methods."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from google.protobuf import descriptor_pool

from spincycle.internal.v1 import journal_service_pb2, runner_coordination_service_pb2
from spincycle.rpc.channel import RETRYABLE, SERVICE_CONFIG, service_config
from spincycle.v1 import job_log_service_pb2, request_manager_service_pb2, spec_service_pb2

PROTOS = Path(__file__).parents[3] / "protos"
NEVER_TWICE = {"Create", "Rerun", "Skip"}
LOADED = (
    journal_service_pb2,
    runner_coordination_service_pb2,
    job_log_service_pb2,
    request_manager_service_pb2,
    spec_service_pb2,
)
"""Imported so that their descriptors are in the pool."""


@pytest.mark.parametrize("package", sorted(RETRYABLE))
def test_the_published_service_config_of_a_package_is_up_to_date(package: str) -> None:
    published = PROTOS / package.replace(".", "/") / "grpc_service_config.json"

    assert published.read_text("utf-8") == f"{service_config(package)}\n", "run make generate"
    assert f'"{package}.' in published.read_text("utf-8")


def test_every_retried_method_exists_and_is_safe_to_repeat() -> None:
    assert all(module.DESCRIPTOR for module in LOADED)
    pool = descriptor_pool.Default()
    names = [
        name for method in json.loads(SERVICE_CONFIG)["methodConfig"] for name in method["name"]
    ]

    assert names
    for name in names:
        service = pool.FindServiceByName(name["service"])
        assert name["method"] in service.methods_by_name
        assert name["method"] not in NEVER_TWICE
