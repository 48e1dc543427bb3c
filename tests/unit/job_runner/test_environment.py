from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from spincycle.job_runner.environment import confine, confined
from spincycle.runtime.config import ConfigError

RUNNER = {
    "PATH": "/bin",
    "LC_ALL": "C.UTF-8",
    "LANG": "C",
    "SPINCYCLE_JR_JOB_LOG": "127.0.0.1:1",
    "SPINCYCLE_DEV_HOME": "/home",
    "AWS_PROFILE": "prod",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "DATABASE_URL": "postgresql://",
}


def test_jobs_get_the_variables_of_the_list_only() -> None:
    assert confined(RUNNER) == {
        "PATH": "/bin",
        "LC_ALL": "C.UTF-8",
        "LANG": "C",
        "SPINCYCLE_DEV_HOME": "/home",
    }


def test_the_operator_passes_variables_by_name_and_pattern_and_sets_others() -> None:
    added = confined(RUNNER, ["AWS_*", "NOT_SET", "LANG=de", "EMPTY=", "A=b=c"])

    assert added == confined(RUNNER) | {
        "AWS_PROFILE": "prod",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "LANG": "de",
        "EMPTY": "",
        "A": "b=c",
    }


@pytest.mark.parametrize("addition", ["", "=x", "A\0B"])
def test_an_addition_that_is_no_variable_is_refused(addition: str) -> None:
    with pytest.raises(ConfigError, match="is neither NAME nor NAME=value"):
        confined(RUNNER, [addition])


def test_the_process_and_its_children_have_the_confined_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in os.environ:
        monkeypatch.delenv(name)
    for name, value in RUNNER.items():
        monkeypatch.setenv(name, value)

    confine(["SET=1"])

    assert dict(os.environ) == confined(RUNNER) | {"SET": "1"}
    lines = subprocess.check_output(["/usr/bin/env"], text=True).splitlines()
    # readline, which pytest loads, sets the size of the terminal.
    inherited = dict(line.split("=", 1) for line in lines)
    assert {name: inherited[name] for name in inherited.keys() - {"LINES", "COLUMNS"}} == dict(
        os.environ
    )


def test_grpc_keeps_the_settings_that_it_has_read() -> None:
    code = (
        "import os, sys\n"
        "os.environ['GRPC_VERBOSITY'] = 'debug'; os.environ['GRPC_TRACE'] = 'api'\n"
        "import grpc\n"
        "from spincycle.job_runner.environment import confine\n"
        "confine()\n"
        "assert not [name for name in os.environ if name.startswith('GRPC')]\n"
        "grpc.insecure_channel('unix:/none')\n"
    )

    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "grpc_channel_create" in ran.stderr


def test_a_runner_with_an_invalid_addition_does_not_start() -> None:
    program = Path(sysconfig.get_path("scripts"), "spincycle-job-runner")
    environment = {**os.environ, "SPINCYCLE_JR_JOBS_ENVIRONMENT": '["PATH", "=x"]'}

    ran = subprocess.run([program], env=environment, capture_output=True, text=True, check=False)

    assert ran.returncode == 2
    assert ran.stderr == "error: jobs_environment: '=x' is neither NAME nor NAME=value\n"
