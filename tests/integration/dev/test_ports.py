"""Allocation of free loopback ports."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from spincycle.dev import ports

FOUR = range(32_000, 32_004)

ALLOCATE_AND_WAIT = f"""
import json
from spincycle.dev import ports
ports._PORTS = {FOUR}
print(json.dumps([ports.free_port(), ports.free_port()]), flush=True)
input()
"""


def test_no_port_is_allocated_by_two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_PORTS", FOUR)
    with subprocess.Popen(
        [sys.executable, "-c", ALLOCATE_AND_WAIT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout
        theirs = json.loads(other.stdout.readline())
        ours = [ports.free_port(), ports.free_port()]
        with pytest.raises(OSError, match="no free loopback port"):
            ports.free_port()
        other.communicate("\n", timeout=30)
    assert {*theirs, *ours} == set(FOUR)
