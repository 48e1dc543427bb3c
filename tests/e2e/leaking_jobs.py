"""Jobs that pass out a secret wherever they can."""

from __future__ import annotations

import asyncio
import logging
import time
from base64 import b64encode
from pathlib import Path
from urllib.parse import quote

from spincycle.job import Job, JobError, JobTypes, Return, State, Value

jobs = JobTypes()

_kept: list[str] = []


@jobs.register("keep")
class Keep(Job):
    """Is given the secret, which other jobs in the process then know."""

    def create(self, args: dict[str, Value]) -> None:
        self._secret = str(args["password"])
        logging.getLogger("keep").error("checking %s", self._secret)
        if args["host"] == "refused":
            raise JobError(f"{args['host']} refuses {self._secret}, {_base64(self._secret)}")
        args["url"] = f"https://dana:{quote(self._secret, safe='')}@{args['host']}"

    def serialize(self) -> bytes:
        return self._secret.encode()

    def deserialize(self, data: bytes) -> None:
        self._secret = data.decode()

    def run(self, data: dict[str, Value]) -> Return:
        _kept[:] = [self._secret]
        data["given"] = self._secret
        text = f"kept {self._secret}"
        return Return(State.COMPLETE, stdout=text, stderr=_base64(text))


@jobs.register("leak")
class Leak(Job):
    """Passes out the secret of the other job until the file `release` exists, and then fails."""

    def create(self, args: dict[str, Value]) -> None:
        self._release = str(args["release"])

    def serialize(self) -> bytes:
        return self._release.encode()

    def deserialize(self, data: bytes) -> None:
        self._release = data.decode()

    def status(self) -> str:
        return f"{self.progress.text}, still with {_kept[0]}"

    async def run(self, data: dict[str, Value]) -> Return:
        secret = _kept[0]
        for form in (secret, _base64(secret), _base64(f"dana:{secret}"), quote(secret)):
            self.prints(stderr=f"+ login {form}\n")
            for character in f"login {form}\n":
                self.prints(stdout=character)
        self.report(f"with {secret}")
        logging.getLogger("leak").error("cannot log in with %s", secret)
        asyncio.create_task(_fail(secret))  # noqa: RUF006 # a job that forgets a task
        await asyncio.to_thread(_wait_for, Path(self._release))
        raise ValueError(f"login with {secret} failed: {data['given']}")


def _wait_for(file: Path) -> None:
    while not file.exists():
        time.sleep(0.02)


async def _fail(secret: str) -> None:
    raise RuntimeError(f"forgotten with {secret}")


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode()
