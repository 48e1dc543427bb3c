from __future__ import annotations

import asyncio
import os
import pty
import signal
import stat
import subprocess
from pathlib import Path

import asyncpg
import httpx
import pytest
from tests.e2e.conftest import REPOSITORY, SCRIPTS, Command, start_dev
from tests.postgres_fixtures import PostgresServer
from tests.waiting import until

from spincycle.dev.child import Process, until_ended, until_gone
from spincycle.dev.ports import is_free
from spincycle.dev.stack_processes import find_processes

SERVICES = ("job-log", "request-manager")
"""Services with a public gRPC listener."""


def locks(home: Path) -> list[Path]:
    return sorted(home.rglob("*.lock"))


def ports(dev: Command) -> list[int]:
    addresses = [dev.address("REST"), *map(dev.address, SERVICES)]
    return [int(address.rpartition(":")[2]) for address in addresses]


async def create(dev: Command, request: str, **args: str) -> str:
    url = f"http://{dev.address('REST')}/api/v1/requests"
    async with httpx.AsyncClient() as client:
        answer = await client.post(url, json={"Type": request, "Args": args})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def get(dev: Command, request_id: str) -> httpx.Response:
    async with httpx.AsyncClient() as client:
        return await client.get(f"http://{dev.address('REST')}/api/v1/requests/{request_id}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_stops_everything(dev: Command, home: Path, number: signal.Signals) -> None:
    listening = ports(dev)
    assert not any(is_free(port) for port in listening)

    dev.signal(number)

    assert await dev.ended() == 0
    assert find_processes(home / "data") == []
    assert locks(home) == []
    assert all(is_free(port) for port in listening)


async def test_internal_listeners_are_sockets_that_other_accounts_cannot_reach(
    dev: Command, home: Path
) -> None:
    link = home / "data" / "sockets"
    directory = link.readlink()

    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    names = {"job-log", "request-manager", "job-runner"}
    assert {path.name for path in directory.iterdir() if path.is_socket()} == names

    dev.signal(signal.SIGTERM)
    assert await dev.ended() == 0
    assert not directory.exists()
    assert not link.is_symlink()


async def test_closing_the_terminal_stops_everything(home: Path) -> None:
    terminal, process = start_on_a_terminal("dev", "--data", home / "data", "--free-ports")
    with process:
        said = b""
        while b"Ctrl-C to stop everything" not in said:
            said += await asyncio.to_thread(os.read, terminal, 4096)

        os.close(terminal)

        assert await until_ended(process) == 0
    assert find_processes(home / "data") == []
    assert locks(home) == []


def start_on_a_terminal(*words: str | Path) -> tuple[int, Process]:
    terminal, own_end = pty.openpty()
    try:
        return terminal, subprocess.Popen(
            ["setsid", "--ctty", SCRIPTS / "spincycle", *words],
            cwd=REPOSITORY,
            stdin=own_end,
            stdout=own_end,
            stderr=own_end,
        )
    finally:
        os.close(own_end)


async def test_a_second_start_finds_the_first_one(dev: Command, home: Path) -> None:
    second = await Command.start("dev", "--data", home / "data", home=home)

    assert await second.ended() == 1
    assert f"spincycle dev is already running: process {dev.pid}" in second.output
    assert dev.address("request-manager") in second.output
    assert (await get(dev, "nothing")).status_code == 404


async def test_a_port_that_is_taken_is_named(dev: Command, home: Path) -> None:
    taken = ports(dev)[0]

    second = await Command.start("dev", "--ephemeral", "--gateway-port", str(taken), home=home)

    assert await second.ended() == 1
    assert f"another program listens on port {taken} (gateway)" in second.output
    assert "Traceback" not in second.output


async def test_a_killed_supervisor_leaves_nothing_and_loses_nothing(
    dev: Command, home: Path
) -> None:
    listening = ports(dev)
    sockets = (home / "data" / "sockets").readlink()
    request_id = await create(dev, "test", sleepTime="0")
    assert len(find_processes(home / "data")) >= 5

    dev.signal(signal.SIGKILL)
    assert await dev.ended() == -signal.SIGKILL
    again = await start_dev(home)

    assert not set(ports(again)) & set(listening)
    assert all(is_free(port) for port in listening)
    assert not sockets.exists()
    assert (await get(again, request_id)).json()["type"] == "test"
    again.signal(signal.SIGTERM)
    assert await again.ended() == 0
    assert locks(home) == []


async def test_what_nobody_could_clean_up_is_cleaned_up_by_the_next_start(
    dev: Command, home: Path
) -> None:
    left = find_processes(home / "data")

    os.kill(reaper(dev), signal.SIGKILL)
    dev.signal(signal.SIGKILL)
    await dev.ended()
    again = await start_dev(home)

    assert "processes of an earlier run" in again.output
    assert not set(find_processes(home / "data")) & set(left)
    again.signal(signal.SIGTERM)
    assert await again.ended() == 0


def reaper(dev: Command) -> int:
    for pid in Path(f"/proc/{dev.pid}/task/{dev.pid}/children").read_text().split():
        if b"spincycle.dev.reaper" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return int(pid)
    raise AssertionError("no reaper")


async def test_a_database_of_ones_own_is_used_and_left_running(
    home: Path, postgres: PostgresServer, database: str
) -> None:
    dev = await start_dev(home, variables={"SPINCYCLE_DEV_POSTGRES_DSN": database})
    request_id = await create(dev, "test", sleepTime="0")
    for pid in find_processes(home / "data"):
        for name in ("environ", "cmdline"):
            assert database.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()  # noqa: ASYNC240 # no file

    dev.signal(signal.SIGTERM)
    assert await dev.ended() == 0

    connection = await asyncpg.connect(database)
    stored = await connection.fetchval("SELECT count(*) FROM request_manager.requests")
    await connection.close()
    assert (stored, request_id != "") == (1, True)
    assert not (home / "data" / "postgres").exists()
    assert database not in dev.output


async def test_a_service_that_dies_is_reported_and_started_again(dev: Command, home: Path) -> None:
    (runner,) = [
        pid
        for pid in find_processes(home / "data")
        if b"spincycle-job-runner" in Path(f"/proc/{pid}/cmdline").read_bytes()  # noqa: ASYNC240
    ]

    os.kill(runner, signal.SIGKILL)

    await dev.until("was killed by SIGKILL; restarting in 0.5 s")


async def test_a_database_that_dies_comes_back_with_what_it_had(dev: Command, home: Path) -> None:
    request_id = await create(dev, "test", sleepTime="0")
    pid_file = home / "data" / "postgres" / "data" / "postmaster.pid"

    os.kill(int(pid_file.read_text().splitlines()[0]), signal.SIGKILL)
    await dev.until("was killed by SIGKILL; restarting")

    async with asyncio.timeout(30):
        while (answer := await get(dev, request_id)).status_code == 503:  # noqa: ASYNC110 # asks others
            await asyncio.sleep(0.05)
    assert answer.json()["id"] == request_id


async def test_processes_that_jobs_have_started_end_with_the_stack(
    dev: Command, home: Path
) -> None:
    await create(dev, "rolling-restart", settle="60000")

    def written() -> list[str]:
        # A file is there before its text is.
        return [
            text for file in (home / "data").glob("fleet-*/*/pid") if (text := file.read_text())
        ]

    await until(lambda: len(written()) == 4)
    pids = [int(text) for text in written()]

    dev.signal(signal.SIGINT)

    assert await dev.ended() == 0
    for pid in pids:
        await until_gone(pid)


async def test_the_demonstration_shows_a_rolling_restart_and_leaves_nothing(home: Path) -> None:
    demo = await Command.start("demo", home=home)

    assert await demo.ended() == 0
    lines = demo.output.splitlines()
    assert any(line.split()[2:6] == ["wait-healthy", "web1", "1", "FAIL"] for line in lines)
    assert any(line.split()[2:6] == ["wait-healthy", "web1", "2", "COMPLETE"] for line in lines)
    assert '  "state": 3,' in lines
    assert lines[-1].startswith("Everything is stopped.")
    assert "\x1b" not in demo.output
    assert find_processes(home) == []


async def test_a_directory_without_specs_is_refused_in_one_line(home: Path) -> None:
    command = await Command.start("dev", "--specs", home / "none", home=home)

    assert await command.ended() == 1
    assert command.output == f"Error: {home / 'none'} is not a directory of spec files\n"
