"""Loads job types: built-in, installed as entry points, or named in the configuration."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from spincycle.job.builtin import jobs as builtin
from spincycle.job.errors import DuplicateJobType, JobsNotLoaded
from spincycle.job.job_types import JobTypes

if TYPE_CHECKING:
    from collections.abc import Iterable

DISTRIBUTION = "spincycle"
"""The distribution whose job types every other source may override."""

ENTRY_POINTS = "spincycle.jobs"
"""Entry point group in which a distribution registers its JobTypes."""


def load_jobs(names: Iterable[str] = (), installed: Iterable[EntryPoint] | None = None) -> JobTypes:
    """Return the built-in job types, those of all installed distributions, and the named ones.

    A name is `module:attribute`, or `module` for its attribute `jobs`. Every source may override
    the job types of Spin Cycle itself; otherwise a type must have one source. `installed` are the
    entry points; by default those of the installed distributions.

    Raises:
        JobsNotLoaded: a source cannot be imported, is not a JobTypes, or has a duplicate type.
    """
    points = entry_points(group=ENTRY_POINTS) if installed is None else installed
    own = [point for point in points if point.dist and point.dist.name == DISTRIBUTION]
    others = [point for point in points if point not in own]
    merged = [builtin]
    shipped = _merge(_sources(own), merged).over(builtin)
    return _merge([*_sources(others), *((name, name) for name in names)], merged).over(shipped)


def _sources(points: Iterable[EntryPoint]) -> list[tuple[str, str]]:
    """Return each entry point's description for errors and the name of its JobTypes."""
    return [(f"{_owner(point)} ({point.value})", point.value) for point in points]


def _merge(sources: Iterable[tuple[str, str]], merged: list[JobTypes]) -> JobTypes:
    """Return the job types of the sources that are not in `merged`, and add them to it.

    Raises:
        JobsNotLoaded: as in `load_jobs`.
    """
    found = JobTypes()
    for source, name in sources:
        factory = _import(source, name)
        if any(factory is known for known in merged):
            continue
        merged.append(factory)
        try:
            found.merge(factory)
        except DuplicateJobType as error:
            raise JobsNotLoaded(source, str(error)) from error
    return found


def _owner(point: EntryPoint) -> str:
    return f"entry point {point.name}" + (f" of {point.dist.name}" if point.dist else "")


def _import(source: str, name: str) -> JobTypes:
    module_name, _, attribute = name.partition(":")
    try:
        module = import_module(module_name)
    except Exception as error:
        raise JobsNotLoaded(source, f"{type(error).__name__}: {error}") from error
    factory = getattr(module, attribute or "jobs", None)
    if not isinstance(factory, JobTypes):
        raise JobsNotLoaded(source, f"{module_name}.{attribute or 'jobs'} is not a JobTypes")
    return factory
