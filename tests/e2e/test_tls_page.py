"""Runs the commands of the page on TLS, and connects with the files and settings that it gives."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2
from msgspec.structs import replace
from tests.documentation.configuration_page import SERVICES
from tests.e2e.conftest import REPOSITORY
from tests.health_client import HealthClient

from spincycle.rpc.certificate_files import internal_files, public_files
from spincycle.rpc.dialer import Dialer
from spincycle.rpc.limits import INTERNAL, PUBLIC
from spincycle.rpc.server import RpcServer
from spincycle.runtime.config import load_config

PAGE = (REPOSITORY / "docs" / "how-to" / "tls.md").read_text("utf-8")

MACHINES = {"request-manager": "rm", "job-log": "rm", "gateway": "rm", "job-runner": "runner"}
"""Directory with the files of the machine on which a service runs."""

_BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


def blocks(part: str, language: str) -> list[str]:
    """The code blocks of a chapter in one language."""
    chapter = PAGE.partition(f"\n## {part}\n")[2].partition("\n## ")[0]
    return [textwrap.dedent(code) for _, name, code in _BLOCK.findall(chapter) if name == language]


SETTINGS = dict(
    re.findall(r"\A# ([\w-]+)\.yaml\n(.*)\Z", code, re.DOTALL)[0]
    for code in blocks("Set up two machines", "yaml")
)


@dataclass
class Machines:
    directory: Path

    def run(self, script: str) -> None:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.directory,
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr

    def config(self, service: str) -> object:
        """The configuration of a service with the files that its machine has."""
        files = str(self.directory / MACHINES[service])
        file = self.directory / f"{service}.yaml"
        file.write_text(SETTINGS[service].replace("/etc/spincycle", files))
        return load_config(SERVICES[service], file, {})

    async def check(self) -> None:
        """Check the files of each service, and connect each with the job log."""
        log = self.config("job-log")
        listening = replace(log.internal, listen="127.0.0.1:0")  # type: ignore[attr-defined] # of a job log
        server = RpcServer(
            tls=log.tls,  # type: ignore[attr-defined] # of a job log
            internal=listening,
            service="job-log",
        )
        server.listen(PUBLIC, "127.0.0.1:0")
        address = server.listen(INTERNAL, listening.listen).address
        await server.start()
        for service in MACHINES:
            config = self.config(service)
            identity = config.internal  # type: ignore[attr-defined] # of each service
            assert internal_files(identity, service, is_server=service != "gateway")
            if hasattr(config, "tls"):
                assert public_files(config.tls)
            async with Dialer(identity, service).to("job-log")(address) as channel:
                await HealthClient(channel).check(health_pb2.HealthCheckRequest(), timeout=20)
        await server.stop(0)


@pytest.fixture
def machines(tmp_path: Path) -> Machines:
    return Machines(tmp_path)


def test_each_service_has_settings() -> None:
    assert set(SETTINGS) == set(MACHINES) == set(SERVICES)


async def test_the_commands_give_files_with_which_the_services_connect(machines: Machines) -> None:
    (setup,) = blocks("Set up two machines", "sh")
    machines.run(setup)
    await machines.check()

    (renewal,) = blocks("Renew certificates", "sh")
    before = (machines.directory / "rm" / "gateway-1.pem").read_bytes()
    machines.run(renewal)
    assert (machines.directory / "rm" / "gateway-1.pem").read_bytes() == before
    machines.run(renewal.replace("30d", "100d"))
    assert (machines.directory / "rm" / "gateway-1.pem").read_bytes() != before
    await machines.check()

    rotation = blocks("Replace the authority", "sh")
    assert len(rotation) == 3
    for step in rotation:
        machines.run(step)
        await machines.check()
    assert not (machines.directory / "ca" / "ca.key").exists()
