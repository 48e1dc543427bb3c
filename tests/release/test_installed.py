"""The wheel in a new environment, with what the package index resolves its dependencies to."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.release.built import PROJECT, build_release, build_wheel, only
from tests.release.environment import Environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

JOB = '''
from spincycle.job import ArgNotSet, Job, JobTypes, Return, State, Value

jobs = JobTypes()


@jobs.register("copy")
class Copy(Job):
    """Copies a file."""

    def __init__(self) -> None:
        self.source = ""

    def create(self, args: dict[str, Value]) -> None:
        if "source" not in args:
            raise ArgNotSet("source")
        self.source = str(args["source"])

    def serialize(self) -> bytes:
        return self.source.encode()

    def deserialize(self, data: bytes) -> None:
        self.source = data.decode()

    async def run(self, data: dict[str, Value]) -> Return:
        self.report("copying", 50)
        data["copied"] = self.source
        return Return(State.COMPLETE, stdout=f"try {self.attempt.number}")
'''

CLIENT = """
import asyncio

import grpc
from google.protobuf.struct_pb2 import Struct

from spincycle.v1 import request_manager_service_pb2 as messages
from spincycle.v1 import state_pb2
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub


async def main(address: str) -> str:
    async with grpc.aio.insecure_channel(address) as channel:
        manager = RequestManagerServiceStub(channel)
        args = Struct()
        args.update({"sleepTime": "0"})
        created = await manager.Create(messages.CreateRequest(type="test", args=args))
        request_id: str = created.request.id
        async for response in manager.Watch(messages.WatchRequest(request_ids=[request_id])):
            for event in response.events:
                if event.HasField("job"):
                    print(event.job.name, state_pb2.State.Name(event.job.state))
        got = await manager.Get(messages.GetRequest(request_id=request_id))
        return state_pb2.State.Name(got.request.state)


if __name__ == "__main__":
    print(asyncio.run(main("127.0.0.1:32310")))
"""

WRONG = {
    "wrong_job.py": """
from spincycle.job import Job, JobTypes, Return, State, Value

jobs = JobTypes()


@jobs.register("wrong")
class Wrong(Job):
    def run(self, data: dict[str, Value]) -> Return:
        return Return("COMPLETE")
""",
    "wrong_client.py": """
import grpc

from spincycle.v1 import request_manager_service_pb2 as messages
from spincycle.v1.request_manager_service_pb2_grpc import RequestManagerServiceStub


async def wrong(channel: grpc.aio.Channel) -> int:
    created = await RequestManagerServiceStub(channel).Create(messages.CreateRequest(type=1))
    return created.request.id
""",
}


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """A directory that any account may enter: as root, PostgreSQL runs under another one."""
    directory = Path(tempfile.mkdtemp(prefix="spincycle-release-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="module")
def dist(root: Path) -> Path:
    return build_release(root / "dist")


@pytest.fixture(scope="module")
def installed(root: Path, dist: Path) -> Environment:
    wheel = only(dist, "*.whl")
    return Environment.create(root, f"{wheel}[postgres,types]", "mypy", "pytest")


def test_the_wheel_of_the_sdist_is_that_of_the_checkout(dist: Path, tmp_path: Path) -> None:
    names = [
        sorted(zipfile.ZipFile(wheel).namelist())
        for wheel in (only(dist, "*.whl"), build_wheel(tmp_path))
    ]

    assert names[0] == names[1]


@pytest.mark.parametrize("program", sorted(PROJECT["scripts"]))
def test_every_program_starts_and_has_the_version(installed: Environment, program: str) -> None:
    result = installed.run(program, "--version")

    assert result.returncode == 0, result.stdout
    assert PROJECT["version"] in result.stdout


def test_dev_runs_the_examples_of_the_wheel(installed: Environment) -> None:
    with installed.dev() as addresses:
        for request in ("test sleepTime=0", "rolling-restart hosts=web1,web2 settle=0"):
            started = installed.run(
                "spinc", "start", *request.split(), "--yes", "--wait", variables=addresses
            )
            assert started.returncode == 0, started.stdout
            assert "COMPLETE" in started.stdout


def test_a_new_project_lints_passes_and_runs(installed: Environment) -> None:
    project = installed.root / "project"

    for command in (["spincycle", "init", "project"], ["make", "-C", "project", "lint"]):
        result = installed.run(*command)
        assert result.returncode == 0, result.stdout
    tests = installed.run("make", "test", cwd=project)
    assert tests.returncode == 0, tests.stdout
    types = installed.run("mypy", "--strict", "my_jobs.py", "tests", cwd=project)
    assert types.returncode == 0, types.stdout
    options = ("--ephemeral", "--specs", "specs", "--jobs", "my_jobs:jobs")
    with installed.dev(*options, cwd=project) as addresses:
        started = installed.run(
            "spinc", "start", "greeting", "names=ann,bob", "--yes", "--wait", variables=addresses
        )
        assert started.returncode == 0, started.stdout


def test_a_job_and_a_grpc_client_are_typed(installed: Environment, tmp_path: Path) -> None:
    (tmp_path / "copy_job.py").write_text(JOB)
    (tmp_path / "client.py").write_text(CLIENT)

    result = installed.run("mypy", "--strict", "copy_job.py", "client.py", cwd=tmp_path)

    assert result.returncode == 0, result.stdout


def test_wrong_types_of_a_job_and_a_client_are_found(
    installed: Environment, tmp_path: Path
) -> None:
    for name, source in WRONG.items():
        (tmp_path / name).write_text(source)

    result = installed.run("mypy", "--strict", *WRONG, cwd=tmp_path)

    assert '"Return" has incompatible type "str"; expected "State"' in result.stdout
    assert '"CreateRequest" has incompatible type "int"; expected "str"' in result.stdout
    assert 'got "str", expected "int"' in result.stdout
