"""What the shell offers while a command is typed; it says nothing rather than fail."""

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

if TYPE_CHECKING:
    import click

    from spincycle.cli.transport.backend import Backend

Answer = TypeVar("Answer")

_ID = re.compile(r"\b[0-9a-v]{20}\b")

_PATIENCE = 1.0
"""Seconds that somebody who typed Tab is kept waiting."""


def complete_request(
    context: click.Context,
    parameter: click.Parameter,  # noqa: ARG001 # click hands it over
    incomplete: str,
) -> list[CompletionItem[str]]:
    """Names of requests that can be started."""
    specs = _asked(context, lambda services: services.specs()) or []
    return [CompletionItem(spec.name) for spec in specs if spec.name.startswith(incomplete)]


def complete_topic(
    context: click.Context,
    parameter: click.Parameter,
    incomplete: str,
) -> list[CompletionItem[str]]:
    """Names of commands, then of requests."""
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
    """Arguments of the request that were not given yet, as `name=`."""
    specs = _asked(context, lambda services: services.specs()) or []
    given = {word.partition("=")[0] for word in context.params.get("args") or ()}
    return [
        CompletionItem(f"{arg.name}=", help=arg.desc)
        for spec in specs
        if spec.name == context.params.get("request")
        for arg in spec.args
        if arg.name not in given and f"{arg.name}=".startswith(incomplete)
    ]


def complete_id(
    context: click.Context,
    parameter: click.Parameter,  # noqa: ARG001 # click hands it over
    incomplete: str,
) -> list[CompletionItem[str]]:
    """Ids of requests that have not ended; of the newest ones if there are none."""
    from spincycle.v1 import request_pb2, state_pb2

    live = request_pb2.RequestFilter(
        states=[state_pb2.STATE_PENDING, state_pb2.STATE_RUNNING, state_pb2.STATE_SUSPENDED]
    )
    found = _asked(context, lambda services: services.find(live, 50))
    if not found:
        newest = request_pb2.RequestFilter()
        found = _asked(context, lambda services: services.find(newest, 20)) or []
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
    """Names of the jobs of the request that was named, each once."""
    # An option that still lacks its value keeps click from telling what stands before it.
    typed = _ID.search(os.environ.get("COMP_WORDS", ""))
    request_id = context.params.get("request_id") or (typed[0] if typed else "")
    if not request_id:
        return []
    chain = _asked(context, lambda services: services.job_chain(request_id))
    kinds = {job.name: job.type for job in chain.jobs if not job.structural} if chain else {}
    return [
        CompletionItem(name, help=kind)
        for name, kind in kinds.items()
        if name.startswith(incomplete)
    ]


def _asked(
    context: click.Context, question: Callable[[Backend], Awaitable[Answer]]
) -> Answer | None:
    from spincycle.cli.render.terminal import Terminal
    from spincycle.cli.session import CommandSession
    from spincycle.cli.settings import resolve

    try:
        settings = resolve(given_options(context), os.environ)
        session = CommandSession(
            replace(settings, timeout=min(settings.timeout, _PATIENCE)), Terminal()
        )
        try:
            return session.ask(question)
        finally:
            session.close()
    except Problem:
        return None
