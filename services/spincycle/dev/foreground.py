"""Runs a stack in the foreground until its work is done or interrupted."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import click

from spincycle.dev.console import Console
from spincycle.dev.errors import AlreadyRunning, StackError
from spincycle.dev.stack import Stack, StackConfig

T = TypeVar("T")

EXIT_FAILED = 1
"""Exit code if the stack did not start."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """The work was interrupted by Ctrl-C, a signal, or a closed terminal."""


class Interruption:
    """Cancels the work on a request to stop, but not the shutdown after it.

    `on_request` is called at the first request, `on_repeat` at each further one.
    """

    def __init__(self, on_request: Callable[[], None], on_repeat: Callable[[], None]) -> None:
        self._on_request = on_request
        self._on_repeat = on_repeat
        self._requested = False
        self._work: asyncio.Task[Any] | None = None

    def request(self) -> None:
        """Request a stop."""
        if self._requested:
            self._on_repeat()
            return
        self._requested = True
        self._on_request()
        if self._work is not None:
            self._work.cancel()

    async def run(self, work: Coroutine[None, None, T]) -> T:
        """Run the work and return its result.

        Raises:
            Interrupted: a stop was requested.
        """
        if self._requested:
            work.close()
            raise Interrupted
        task = asyncio.create_task(work)
        self._work = task
        try:
            return await task
        except asyncio.CancelledError:
            if self._requested:
                raise Interrupted
            raise
        finally:
            self._work = None


async def run_with_stack(
    config: StackConfig,
    console: Console,
    show: Callable[[str, str], None],
    work: Callable[[Stack], Coroutine[None, None, int]],
    interrupted: Callable[[], int] = lambda: 0,
) -> int:
    """Start a stack, do the work, stop the stack; return the exit code.

    That is the result of the work, the result of `interrupted` after an interruption, or
    EXIT_FAILED, with an error message, if the stack did not start.
    """
    stack = Stack(config, show)
    interruption = Interruption(
        lambda: console.write(console.style("\nstopping; press Ctrl-C again to kill", bold=True)),
        stack.kill_all,
    )
    console.on_closed(interruption.request)
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, interruption.request)
    try:
        await interruption.run(stack.open())
        return await interruption.run(work(stack))
    except Interrupted:
        return interrupted()
    except AlreadyRunning as error:
        click.echo(_already_running_text(error), err=True)
        return EXIT_FAILED
    except StackError as error:
        click.echo(f"error: {error}", err=True)
        return EXIT_FAILED
    finally:
        await stack.close()


async def wait_until_cancelled() -> int:
    """Keep the stack running until an interruption."""
    await asyncio.Event().wait()
    return 0


def _already_running_text(error: AlreadyRunning) -> str:
    note = error.note
    if "since" not in note:
        return f"spincycle dev is already starting: process {note.get('pid', '?')}"
    addresses = "\n".join(
        f"  {name:<16} {note[name]}" for name in note if name not in ("pid", "since")
    )
    return (
        f"spincycle dev is already running: process {note['pid']}, since {note['since']}\n"
        f"{addresses}\n"
        f"To stop it, press Ctrl-C in its terminal or run: kill {note['pid']}\n"
        "To start a second one: spincycle dev --ephemeral --free-ports"
    )
