"""Finds the specs and jobs that a stack runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from spincycle.dev.errors import StackError
from spincycle.dev.services import Content

_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class _Examples:
    """Example specs and jobs below one directory.

    Attributes:
        root: directory that contains `specs` and `jobs`.
        jobs: their job factory, `module:attribute`.
        python_path: directories from which that module is imported; none if it is installed.
    """

    root: Path
    jobs: str
    python_path: tuple[Path, ...] = ()

    @property
    def exist(self) -> bool:
        """Whether both directories exist."""
        return (self.root / "specs").is_dir() and (self.root / "jobs").is_dir()


EXAMPLE_JOBS = "examples.jobs:jobs"
"""Job factory of the examples in a checkout."""

INSTALLED_EXAMPLE_JOBS = "spincycle.examples.jobs:jobs"
"""Job factory of the examples in an installed wheel."""


def find_content(specs: Path | None, jobs: tuple[str, ...]) -> Content:
    """Return the specs and job factories to run; the working directory comes first on the path.

    Without `specs` they are the examples: of the working directory, of the checkout that this
    package runs from, or of the installed wheel.

    Raises:
        StackError: `specs` is not a directory, or there are no examples.
    """
    here = Path.cwd()
    if specs is not None:
        if not specs.is_dir():
            raise StackError(f"{specs} is not a directory of spec files")
        return Content(specs.absolute(), jobs, (here,))
    for examples in _examples(here):
        if examples.exist:
            path = tuple(dict.fromkeys([here, *examples.python_path]))
            return Content(examples.root / "specs", jobs or (examples.jobs,), path)
    raise StackError("no specs found: name a directory of spec files by --specs")


def has_example_jobs(content: Content) -> bool:
    """Return whether the job factories of the examples are among those of `content`."""
    return not {EXAMPLE_JOBS, INSTALLED_EXAMPLE_JOBS}.isdisjoint(content.jobs)


def _examples(here: Path) -> list[_Examples]:
    checkout = _PACKAGE.parents[1]
    return [
        _Examples(here / "examples", EXAMPLE_JOBS, (here,)),
        _Examples(checkout / "examples", EXAMPLE_JOBS, (checkout,)),
        _Examples(_PACKAGE / "examples", INSTALLED_EXAMPLE_JOBS),
    ]
