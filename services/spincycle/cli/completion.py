"""Shell completion; it offers nothing if the services cannot be reached."""

from __future__ import annotations

import os
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from click.shell_completion import CompletionItem

from spincycle.cli.commands import COMMANDS
from spincycle.cli.options import given_options
from spincycle.cli.problem import Problem
from spincycle.cli.render.job_path import job_title

if TYPE_CHECKING:
    import click

    from spincycle.cli.transport.backend import Backend

Result = TypeVar("Result")

_ID = re.compile(r"\b[0-9a-v]{20}\b")

_TIMEOUT = 1.0
"""Seconds after which completion gives no result."""

_MAX_JOBS = 500
"""Jobs that are offered at most."""


def complete_request(
    context: click.Context,
    parameter: click.Parameter,  # noqa: ARG001 # click hands it over
    incomplete: str,
) -> list[CompletionItem[str]]:
    """Complete the name of a request that can be started."""
    specs = _call(context, lambda services: services.specs()) or []
    return [CompletionItem(spec.name) for spec in specs if spec.name.startswith(incomplete)]


def complete_topic(
    context: click.Context,
    parameter: click.Parameter,
    incomplete: str,
) -> list[CompletionItem[str]]:
    """Complete the name of a command or a request; commands come first."""
    commands = [
        CompletionItem(name, help=entry.summary)
        for name, entry in COMMANDS.items()
        if name.startswith(incomplete)
    ]
    return commands + complete_request(context, parameter, incomplete)


def complete_args(
    context: click.Context,
    parameter: click.Parameter,  # noqa: ARG001 # click hands it over
    incomplete: str,
) -> list[CompletionItem[str]]:
    """Complete an argument of the request that is not given yet, as `name=`, and name=@file."""
    name, reads, begun = incomplete.partition("=@")
    if reads:
        return [CompletionItem(f"{name}=@{path}") for path in _files(begun)]
    specs = _call(context, lambda services: services.specs()) or []
    given = {word.partition("=")[0] for word in context.params.get("args") or ()}
    return [
        CompletionItem(f"{arg.name}=", help=arg.desc)
        for spec in specs
        if spec.name == context.params.get("request")
        for arg in spec.args
        if arg.name not in given and f"{arg.name}=".startswith(incomplete)
    ]


def _files(begun: str) -> list[str]:
    """Return the files and directories whose path begins with `begun`."""
    parent, slash, name = begun.rpartition("/")
    try:
        with os.scandir(parent + slash or ".") as entries:
            return sorted(
                f"{parent}{slash}{entry.name}{'/' if entry.is_dir() else ''}"
                for entry in entries
                if entry.name.startswith(name)
            )
    except OSError:
        return []


def complete_id(
    context: click.Context,
    parameter: click.Parameter,  # noqa: ARG001 # click hands it over
    incomplete: str,
) -> list[CompletionItem[str]]:
    """Complete the id of an unfinished request, or of a recent one if there are none."""
    from spincycle.v1 import request_pb2, state_pb2

    live = request_pb2.RequestFilter(
        states=[state_pb2.STATE_PENDING, state_pb2.STATE_RUNNING, state_pb2.STATE_SUSPENDED]
    )
    found = _call(context, lambda services: services.find(live, 50))
    if not found:
        newest = request_pb2.RequestFilter()
        found = _call(context, lambda services: services.find(newest, 20)) or []
    return [
        CompletionItem(request.id, help=request.type)
        for request in found
        if request.id.startswith(incomplete)
    ]


def complete_job(
    context: click.Context,
    parameter: click.Parameter,  # noqa: ARG001 # click hands it over
    incomplete: str,
) -> list[CompletionItem[str]]:
    """Complete the id of a job of the given request, or a name that only one of its jobs has."""
    # Click passes no earlier parameters while an option lacks its value.
    typed = _ID.search(os.environ.get("COMP_WORDS", ""))
    request_id = context.params.get("request_id") or (typed[0] if typed else "")
    if not request_id:
        return []
    return _call(context, lambda services: _jobs(services, request_id, incomplete)) or []


async def _jobs(services: Backend, request_id: str, incomplete: str) -> list[CompletionItem[str]]:
    ids: list[CompletionItem[str]] = []
    names: dict[str, str | None] = {}
    async for job in services.jobs(request_id):
        if job.structural:
            continue
        title = job_title(job)
        if job.id.startswith(incomplete) and len(ids) < _MAX_JOBS:
            ids.append(CompletionItem(job.id, help=title))
        if incomplete and job.name.startswith(incomplete):
            names[job.name] = None if job.name in names else title
    return ids + [CompletionItem(name, help=title) for name, title in names.items() if title]


def _call(context: click.Context, call: Callable[[Backend], Awaitable[Result]]) -> Result | None:
    from spincycle.cli.render.terminal import Terminal
    from spincycle.cli.session import CommandSession
    from spincycle.cli.settings import resolve

    try:
        settings = resolve(given_options(context), os.environ)
        session = CommandSession(
            replace(settings, timeout=min(settings.timeout, _TIMEOUT)), Terminal()
        )
        try:
            return session.call(call)
        finally:
            session.close()
    except Problem:
        return None
