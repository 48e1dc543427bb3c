"""Jobs that leave a process behind, and write its id to a file."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from spincycle.job import Job, JobTypes, Return, State, Value

jobs = JobTypes()


class _Leaving(Job):
    def create(self, args: dict[str, Value]) -> None:
        self._file = str(args["file"])

    def serialize(self) -> bytes:
        return self._file.encode()

    def deserialize(self, data: bytes) -> None:
        self._file = data.decode()

    async def run(self, data: dict[str, Value]) -> Return:
        self._leave(Path(self._file))
        return Return(State.COMPLETE)

    async def stop(self) -> None:
        """It ends by itself."""

    def _leave(self, file: Path) -> None:
        raise NotImplementedError


@jobs.register("fork")
class ForkJob(_Leaving):
    """Forks, and starts no other program."""

    def _leave(self, file: Path) -> None:
        pid = os.fork()
        if pid == 0:
            os.setsid()
            while True:
                signal.pause()
        file.write_text(str(pid))


@jobs.register("spawn")
class SpawnJob(_Leaving):
    """Starts a program that gets every descriptor that may be inherited."""

    def _leave(self, file: Path) -> None:
        program = subprocess.Popen(["sleep", "1000"], close_fds=False, start_new_session=True)
        file.write_text(str(program.pid))
