"""spincycle init: write a small project to start from."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from importlib.resources import files
from pathlib import Path

import click

FILES = (
    "Makefile",
    "README.md",
    "my_jobs.py",
    "specs/greeting.yaml",
    "tests/test_greeting.py",
)
"""The files of a new project; their contents are in `templates`."""


@click.command(name="init")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
def init(directory: Path) -> None:
    """Write a small project into DIR: a spec, a job type, tests and a Makefile.

    DIR must be empty or not exist yet.
    """
    try:
        if directory.exists() and any(directory.iterdir()):
            _fail(f"{directory} is not empty: name a new directory or an empty one")
        write_project(directory)
    except OSError as error:
        _fail(f"cannot write a project into {directory}: {error}")
    click.echo(_next_steps(directory))


def write_project(directory: Path) -> None:
    """Write the files of a new project below `directory`, which is created if missing.

    Raises:
        OSError: a file cannot be written.
    """
    templates = files("spincycle.admin") / "templates"
    for name in FILES:
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((templates / name).read_bytes())


def _next_steps(directory: Path) -> str:
    lines = [f"Created {directory} with {', '.join(FILES)}.", "", "Next:"]
    if directory.resolve() != Path.cwd():
        lines.append(f"  cd {directory}")
    if shutil.which("spincycle") is None:
        lines.append(f"  export PATH={Path(sys.executable).parent}:$PATH")
    if importlib.util.find_spec("pytest") is None:
        lines.append("  python3 -m pip install pytest")
    lines += [
        "  make lint   # check the specs",
        "  make test   # run the tests",
        "  make dev    # start all services; Ctrl-C stops them",
        "",
        "While `make dev` runs, in another terminal:",
        "  spinc start greeting names=ann,bob --yes --wait",
    ]
    return "\n".join(lines)


def _fail(message: str) -> None:
    click.echo(f"error: {message}", err=True)
    sys.exit(1)
