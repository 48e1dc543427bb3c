"""The reason for which a call was refused."""

from __future__ import annotations

import grpc
import pytest

from spincycle.rpc.status import from_rpc_error


def reason(failure: pytest.ExceptionInfo[grpc.aio.AioRpcError]) -> str:
    return from_rpc_error(failure.value, "", "").reason
