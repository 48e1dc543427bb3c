"""A database on a file system of some megabytes, to be filled and freed."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

from tests.not_run import not_run
from tests.postgres_fixtures import PostgresServer

from spincycle.dev.postgres import EmbeddedPostgres
from spincycle.dev.postgres_binaries import choose_account

SIZE = "48m"

SIZE_OF_SERVER = "160m"
"""Of a file system for a whole server, which begins with 40 MB, 16 of them for its log."""


class SmallDisk:
    """The file system.

    Attributes:
        dsn: address of the database on it.
    """

    def __init__(self, directory: Path, dsn: str) -> None:
        self._ballast = directory / "ballast"
        self.dsn = dsn

    def fill(self) -> None:
        """Leave no room."""
        with self._ballast.open("ab", buffering=0) as ballast, suppress(OSError):
            choose_account().own(self._ballast)
            while True:
                ballast.write(bytes(4096))

    def free(self) -> None:
        """Make room again."""
        self._ballast.unlink(missing_ok=True)


@asynccontextmanager
async def small_disk(postgres: PostgresServer) -> AsyncIterator[SmallDisk]:
    """Mount the file system and create a database on it; without the right to, not run."""
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="spincycle-disk-")))
        directory.chmod(0o755)  # noqa: ASYNC240 # PostgreSQL runs under another account
        place = directory / "mounted"
        place.mkdir()
        stack.enter_context(_mounted(place, SIZE, "0755"))
        tables = place / "tables"
        tables.mkdir(mode=0o700)
        choose_account().own(tables)
        tablespace = f"small_{directory.name[-8:]}"
        await postgres.execute(f"CREATE TABLESPACE \"{tablespace}\" LOCATION '{tables}'")
        stack.push_async_callback(postgres.execute, f'DROP TABLESPACE "{tablespace}"')
        name = await postgres.create_database()
        stack.push_async_callback(postgres.drop_database, name)
        await postgres.execute(f'ALTER DATABASE {name} SET TABLESPACE "{tablespace}"')
        disk = SmallDisk(place, postgres.embedded.dsn(name))
        stack.callback(disk.free)
        yield disk


@asynccontextmanager
async def server_on_small_disk(server: EmbeddedPostgres, home: Path) -> AsyncIterator[SmallDisk]:
    """Have all data of a server that does not run on a small file system; `home` is its directory.

    It is unmounted at the end, when the server must have stopped. Without the right to mount, not
    run.
    """
    await server.start()
    await server.stop()
    data, whole = home / "data", home / "data.whole"
    data.rename(whole)
    data.mkdir(mode=0o700)
    with _mounted(data, SIZE_OF_SERVER, "0700"):
        _run("cp", "-a", f"{whole}/.", str(data))
        shutil.rmtree(whole)
        disk = SmallDisk(data, server.dsn())
        yield disk
        disk.free()


@contextmanager
def _mounted(place: Path, size: str, mode: str) -> Iterator[None]:
    """A file system in memory."""
    try:
        _run("mount", "-t", "tmpfs", "-o", f"size={size},mode={mode}", "spincycle", str(place))
    except (OSError, subprocess.CalledProcessError):
        not_run("mount", "run as root, with the right to mount a tmpfs")
    try:
        choose_account().own(place)
        yield
    finally:
        _run("umount", str(place))


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
