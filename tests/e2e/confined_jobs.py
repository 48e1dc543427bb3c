"""Jobs that report what they can read about the services."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES = ("environ", "cmdline")


def readable(words: list[str]) -> Iterator[str]:
    """Yield each file of a process that contains one of the words, except the reader's own."""
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal() or int(process.name) in (os.getpid(), os.getppid()):
            continue
        for name in FILES:
            try:
                content = (process / name).read_bytes()
            except OSError:
                continue
            for word in words:
                if word.encode() in content:
                    yield f"{process.name} {name} {word}"


def report(password_file: str) -> str:
    """Return the environment, and where secrets and the mark of the stack are found."""
    password = Path(password_file).read_text()
    # Not in one piece: the search must not find its own arguments.
    key = "-".join(("key", "of", "the", "operator"))
    return json.dumps(
        {
            "environment": dict(os.environ),
            "secrets": list(readable([password, key])),
            "marks": list(readable(["SPINCYCLE_DEV_HOME="])),
        }
    )


if __name__ == "__main__":
    sys.stdout.write(report(sys.argv[1]))
else:
    from spincycle.job import Job, JobTypes, Return, State, Value

    jobs = JobTypes()

    @jobs.register("report")
    class ReportJob(Job):
        """Reports from the process of the runner."""

        def create(self, args: dict[str, Value]) -> None:
            self._file = str(args["file"])

        def serialize(self) -> bytes:
            return self._file.encode()

        def deserialize(self, data: bytes) -> None:
            self._file = data.decode()

        def run(self, data: dict[str, Value]) -> Return:
            return Return(State.COMPLETE, stdout=report(self._file))
