from __future__ import annotations

import os
from pathlib import Path

import pytest

from spincycle.dev.configuration import Configuration
from spincycle.job_log.config import JobLogConfig
from spincycle.runtime.config import ConfigError, close_inherited, load_config


def configuration(**keys: object) -> Configuration:
    return Configuration("SPINCYCLE_JL_", keys)


def test_a_service_reads_its_configuration_from_a_descriptor_and_closes_it() -> None:
    given = configuration(
        listen="127.0.0.1:1", database={"dsn": "postgresql://ä/x", "migrate": False}
    )
    descriptor = given.open("job-log")
    file = Path(f"/dev/fd/{descriptor}")

    config = load_config(JobLogConfig, file, {})
    close_inherited(file)

    assert config.listen == "127.0.0.1:1"
    assert config.database.dsn.reveal() == "postgresql://ä/x"
    assert not config.database.migrate
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_problem_in_it_names_its_creator_instead_of_a_descriptor() -> None:
    descriptor = configuration(listen=3, databse={}).open("job-log")

    with pytest.raises(ConfigError) as caught:
        load_config(JobLogConfig, Path(f"/dev/fd/{descriptor}"), {})

    os.close(descriptor)
    assert "(in configuration of job-log by spincycle dev)" in str(caught.value)
    assert "/dev/fd" not in str(caught.value)


def test_a_named_file_and_standard_input_are_not_closed(tmp_path: Path) -> None:
    close_inherited(tmp_path / "config.yaml")
    close_inherited(Path("/dev/fd/1"))
    close_inherited(None)

    os.fstat(1)


def test_variables_of_the_operator_do_not_override_it() -> None:
    environment = {
        "SPINCYCLE_JL_LISTEN": "0.0.0.0:1",
        "spincycle_jl_database__dsn": "postgresql://other",
        "SPINCYCLE_JL_GRACE": "1",
        "SPINCYCLE_RM_LISTEN": "0.0.0.0:2",
        "PATH": "/bin",
    }

    left = configuration(listen="x", database={"dsn": "y"}).without_variables(environment)

    assert list(left) == ["SPINCYCLE_JL_GRACE", "SPINCYCLE_RM_LISTEN", "PATH"]
