from __future__ import annotations

import asyncio
import subprocess
import sysconfig
from collections.abc import Iterator

import pytest
from click.testing import CliRunner
from tests.postgres_fixtures import PostgresServer

from spincycle.admin.main import main


@pytest.fixture
def dsn(postgres: PostgresServer) -> Iterator[str]:
    name = asyncio.run(postgres.create_database())
    yield postgres.embedded.dsn(name)
    asyncio.run(postgres.drop_database(name))


def test_migrating_twice_changes_nothing_the_second_time(dsn: str) -> None:
    first = CliRunner().invoke(main, ["migrate", "--dsn", dsn])
    second = CliRunner().invoke(main, ["migrate", "--dsn", dsn])

    assert first.exit_code == 0, first.output
    assert [line.partition(": applied 1 ")[0] for line in first.output.splitlines()] == [
        "request-manager",
        "job-log",
    ]
    assert second.output == "request-manager: up to date\njob-log: up to date\n"


def test_one_service_can_be_migrated_alone(dsn: str) -> None:
    CliRunner().invoke(main, ["migrate", "job-log", "--dsn", dsn])

    both = CliRunner().invoke(main, ["migrate", "--dsn", dsn])

    assert "request-manager: applied 1" in both.output
    assert "job-log: up to date" in both.output


def test_an_unreachable_database_is_one_line(dsn: str) -> None:
    result = CliRunner().invoke(main, ["migrate", "--dsn", "postgresql://127.0.0.1:1/none"])

    assert result.exit_code == 2
    assert result.output.startswith("error: cannot migrate the database of the request-manager: ")
    assert result.output.count("\n") == 1


def test_migrate_waits_for_the_database(postgres: PostgresServer) -> None:
    address = postgres.embedded.dsn("comes_later")
    command = [f"{sysconfig.get_path('scripts')}/spincycle", "migrate", "--wait", "60"]
    with subprocess.Popen(
        [*command, "--dsn", address], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        assert process.stderr.readline() == "request-manager: waiting for the database\n"
        asyncio.run(postgres.execute("CREATE DATABASE comes_later"))
        output = process.stdout.read()

    asyncio.run(postgres.drop_database("comes_later"))
    assert process.returncode == 0
    assert "job-log: applied 1" in output
