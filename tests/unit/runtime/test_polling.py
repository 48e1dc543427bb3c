from __future__ import annotations

import os
import subprocess
import sys

import pytest

from spincycle.runtime.polling import EXPERIMENTS, VARIABLE, unset_for_children

LOOKS_ON = f"""
import os, sys

class Finder:
    def find_spec(self, name, *_):
        if name == "grpc":
            print(os.environ.get("{VARIABLE}"))

sys.meta_path.insert(0, Finder())
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )


@pytest.mark.parametrize("service", ["job_log", "job_runner", "request_manager", "gateway"])
def test_every_service_selects_the_poller_before_it_imports_grpc(service: str) -> None:
    assert run(f"{LOOKS_ON}import spincycle.{service}.process").stdout == f"{EXPERIMENTS}\n"


def test_grpc_knows_the_experiments() -> None:
    """gRPC warns about unknown experiments; if this fails, check how the new version polls."""
    assert run("import spincycle.runtime.polling, grpc").stderr == ""


def test_child_processes_do_not_inherit_the_experiments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, EXPERIMENTS)
    unset_for_children()
    assert VARIABLE not in os.environ

    monkeypatch.setenv(VARIABLE, "what an operator says")
    unset_for_children()
    assert os.environ[VARIABLE] == "what an operator says"
