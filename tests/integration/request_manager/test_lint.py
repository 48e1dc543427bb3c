"""Lint over gRPC, with the worker process that the request manager starts."""

from __future__ import annotations

import grpc
import pytest
from tests.integration.request_manager.conftest import Manager

from spincycle.spec import CHECKS
from spincycle.v1 import spec_pb2, spec_service_pb2

SPEC = r"""
sequences:
  s:
    args:
      optional:
        - {name: host, pattern: '([a-z0-9-]+\.?)+', default: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa_}
    nodes:
      n: {category: job, type: noop, args: [{expected: host}]}
"""


def request(*contents: str) -> spec_service_pb2.LintRequest:
    return spec_service_pb2.LintRequest(
        files=[
            spec_pb2.SpecFile(path=f"{n}.yaml", content=content)
            for n, content in enumerate(contents)
        ]
    )


async def test_an_ambiguous_pattern_is_linted_at_once(manager: Manager) -> None:
    linted = await manager.specs.Lint(request(SPEC), timeout=30)

    assert [(f.code, f.line) for f in linted.findings] == [("default-invalid", 6)]
    assert linted.findings[0].code in CHECKS


async def test_too_many_files_are_an_invalid_argument(manager: Manager) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="at most 1000 per call") as error:
        await manager.specs.Lint(request(*[""] * 1001))

    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
