"""Which specs and jobs a stack runs: what it is told, or else the examples."""

from __future__ import annotations

from pathlib import Path

from spincycle.dev.errors import StackError
from spincycle.dev.services import Content

EXAMPLE_JOBS = "examples.jobs:jobs"


def find_content(specs: Path | None, jobs: tuple[str, ...]) -> Content:
    """Specs and job factories; modules are looked for in the working directory first.

    Without specs those of the examples are taken, and with them their jobs, if this is
    a checkout or is installed from one.

    Raises:
        StackError: there are no specs.
    """
    here = Path.cwd()
    if specs is not None:
        if not specs.is_dir():
            raise StackError(f"{specs} is not a directory of spec files")
        return Content(specs.absolute(), jobs, (here,))
    for checkout in (here, Path(__file__).parents[3]):
        examples = checkout / "examples"
        if (examples / "specs").is_dir() and (examples / "jobs").is_dir():
            path = (here,) if checkout == here else (here, checkout)
            return Content(examples / "specs", jobs or (EXAMPLE_JOBS,), path)
    raise StackError("there are no specs here: name a directory of spec files by --specs")
