"""The command `spincycle demo`: runs one request through every service."""

from __future__ import annotations

import asyncio
import sys
import time
import urllib.request
from collections import deque
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from spincycle.cli.transport.backend import Backend
    from spincycle.dev.console import Console
    from spincycle.dev.stack import Stack
    from spincycle.v1 import request_pb2

REQUEST = "rolling-restart"
ARGS = {"hosts": "web1,web2,web3,web4", "release": "2.0", "settle": "1000"}

_STEPS = 4
_EXIT_INTERRUPTED = 130


@click.command()
@click.option("--keep", is_flag=True, help="Keep everything running until Ctrl-C.")
def demo(keep: bool) -> None:
    """Start everything, run a rolling restart, show it live, stop everything.

    Nothing is simulated: a PostgreSQL and four services run as separate processes, and the jobs
    start, drain, restart and probe small HTTP servers. No files or processes remain.
    """
    from spincycle.dev.console import Console
    from spincycle.dev.content import find_content
    from spincycle.dev.errors import StackError
    from spincycle.dev.foreground import run_with_stack
    from spincycle.dev.services import FREE_PORTS
    from spincycle.dev.stack import StackConfig
    from spincycle.runtime.dumpable import set_dumpable

    set_dumpable(allowed=False)
    console = Console()
    try:
        content = find_content(None, ())
    except StackError as error:
        raise click.ClickException(str(error))
    began = time.monotonic()
    last_lines: deque[tuple[str, str]] = deque(maxlen=100)

    async def work(stack: Stack) -> int:
        demonstration = _Demonstration(stack, console)
        demonstration.print_addresses(time.monotonic() - began)
        code = await demonstration.run()
        if keep:
            console.write("\nEverything keeps running; press Ctrl-C to stop.")
            await asyncio.Event().wait()
        return code

    console.write(
        _step(console, 1, "Start PostgreSQL, request manager, job runner, job log, gateway")
    )
    config = StackConfig(content, ports=FREE_PORTS)
    code = asyncio.run(
        run_with_stack(
            config,
            console,
            lambda *line: last_lines.append(line),
            work,
            lambda: _interrupted(keep=keep),
        )
    )
    if code == 0:
        console.write(f"\nEverything is stopped. The demo took {time.monotonic() - began:.1f} s.")
    elif code != _EXIT_INTERRUPTED:
        console.write("\nLast output of the services:")
        for name, line in last_lines:
            console.write_line(name, line)
    sys.exit(code)


def _interrupted(*, keep: bool) -> int:
    return 0 if keep else _EXIT_INTERRUPTED


def _step(console: Console, number: int, title: str) -> str:
    return console.style(f"[{number}/{_STEPS}] {title}", bold=True)


class _Demonstration:
    """Runs and prints the steps of the demo on a running stack."""

    def __init__(self, stack: Stack, console: Console) -> None:
        self._stack = stack
        self._console = console

    def print_addresses(self, took: float) -> None:
        """Print the addresses of the services, and the seconds that their start took."""
        from spincycle.dev.welcome import addresses

        for name, address in addresses(self._stack):
            self._console.write(f"      {name:<16} {address}")
        self._console.write(f"      ready after {took:.1f} s, with specs and jobs from examples/")

    async def run(self) -> int:
        """Create a request, watch it, print its journal and its JSON; return the exit code."""
        from spincycle.cli.session import open_backend
        from spincycle.cli.settings import Settings
        from spincycle.errors import SpinCycleError

        settings = Settings(addr=self._stack.request_manager, job_log=self._stack.job_log)
        backend = open_backend(settings)
        try:
            return await self._run_steps(backend)
        except SpinCycleError as error:
            click.echo(f"error: {error.message}", err=True)
            return 1
        finally:
            await backend.close()

    async def _run_steps(self, backend: Backend) -> int:
        from spincycle.cli.watch import watch_request
        from spincycle.model.state import State

        words = " ".join(f"{name}={value}" for name, value in ARGS.items())
        self._print_step(2, f"Restart four hosts, two at a time: spinc start {REQUEST} {words}")
        request = await _create(backend)
        state = await watch_request(self._stack.request_manager, request.id, self._stack.job_log)
        self._print_step(3, f"Read the journal, every try of every job: spinc log {request.id}")
        await self._print_journal(backend, request.id)
        url = f"{self._stack.gateway}/api/v1/requests/{request.id}"
        self._print_step(4, f"Get the same request over REST: curl {url}")
        self._console.write(await asyncio.to_thread(_fetch, url))
        self._console.write(
            "\nTo try it yourself, run 'spincycle dev': it keeps all of this running at fixed\n"
            "addresses (REST on port 32308), and prints commands to try."
        )
        return 0 if state == State.COMPLETE else 1

    async def _print_journal(self, backend: Backend, request_id: str) -> None:
        from spincycle.cli.render.terminal import Terminal
        from spincycle.cli.transport.backend import EntryFilter
        from spincycle.dev.journal_table import journal_table

        chain = await backend.job_chain(request_id)
        jobs = {job.id: job for job in chain.jobs}
        entries = [entry async for entry in backend.entries(request_id, EntryFilter())]
        entries.sort(key=lambda entry: entry.position)
        for line in journal_table(entries, jobs, Terminal().table_width):
            self._console.write(line)

    def _print_step(self, number: int, title: str) -> None:
        self._console.write("\n" + _step(self._console, number, title))


async def _create(backend: Backend) -> request_pb2.Request:
    from google.protobuf.struct_pb2 import Struct

    from spincycle.v1 import request_manager_service_pb2

    args = Struct()
    args.update(ARGS)
    return await backend.create(request_manager_service_pb2.CreateRequest(type=REQUEST, args=args))


def _fetch(url: str) -> str:
    import orjson

    with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 # the gateway of the stack
        request = orjson.loads(response.read())
    request["JobChain"] = f"… {request['totalJobs']} jobs, left out here"
    return orjson.dumps(request, option=orjson.OPT_INDENT_2).decode()
