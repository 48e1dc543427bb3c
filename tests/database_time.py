"""A clock of a database server that a test sets, while every other process keeps the true time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.not_run import not_run

LIBRARIES = ["usr/lib/*/faketime/libfaketime.so.1", "usr/lib/faketime/libfaketime.so.1"]


class DatabaseTime:
    """The clock of the server that is started with `environment`; its monotonic clock is true."""

    def __init__(self, directory: Path) -> None:
        self._file = directory / "database-time"
        self.set(0)

    @property
    def environment(self) -> Mapping[str, str]:
        """What the server needs in its environment; without libfaketime the test is not run."""
        return {
            "LD_PRELOAD": _library(),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, seconds: int) -> None:
        """Let the server's clock be ahead of the true time by this much; behind if negative."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.chmod(0o644)
        new.rename(self._file)


def _library() -> str:
    found = [path for pattern in LIBRARIES for path in Path("/").glob(pattern)]
    return str(found[0]) if found else not_run("libfaketime", "install the package faketime")
