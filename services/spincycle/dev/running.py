"""Having a stack while something is done, until it is done or somebody interrupts it."""

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
"""The stack did not start."""

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """Somebody wants the stack to end: by Ctrl-C, by a signal, or by closing the terminal."""


class Interruption:
    """The wish that the work ends, which cancels the work but not the stopping after it."""

    def __init__(self, first: Callable[[], None], again: Callable[[], None]) -> None:
        self._first = first
        self._again = again
        self._asked = False
        self._work: asyncio.Task[Any] | None = None

    def ask(self) -> None:
        """Cancel the work; the second time, hurry."""
        if self._asked:
            self._again()
            return
        self._asked = True
        self._first()
        if self._work is not None:
            self._work.cancel()

    async def run(self, work: Coroutine[None, None, T]) -> T:
        """Do the work.

        Raises:
            Interrupted: it was cut short by the wish.
        """
        if self._asked:
            work.close()
            raise Interrupted
        task = asyncio.create_task(work)
        self._work = task
        try:
            return await task
        except asyncio.CancelledError:
            if self._asked:
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
    """Start a stack, do the work, stop the stack; answer the exit code.

    That is what the work answers, or what `interrupted` answers if it was interrupted, or
    EXIT_FAILED with a line on the console if the stack did not start.
    """
    stack = Stack(config, show)
    interruption = Interruption(
        lambda: console.say(console.style("\nstopping; once more kills", bold=True)), stack.hurry
    )
    console.on_gone(interruption.ask)
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, interruption.ask)
    try:
        await interruption.run(stack.open())
        return await interruption.run(work(stack))
    except Interrupted:
        return interrupted()
    except AlreadyRunning as error:
        click.echo(_running(error), err=True)
        return EXIT_FAILED
    except StackError as error:
        click.echo(f"error: {error}", err=True)
        return EXIT_FAILED
    finally:
        await stack.close()


async def until_cancelled() -> int:
    """Leave the stack up until somebody interrupts it."""
    await asyncio.Event().wait()
    return 0


def _running(error: AlreadyRunning) -> str:
    note = error.note
    if "since" not in note:
        return f"spincycle dev is starting already (process {note.get('pid', '?')})"
    addresses = "\n".join(
        f"  {name:<16} {note[name]}" for name in note if name not in ("pid", "since")
    )
    return (
        f"spincycle dev is running already: process {note['pid']}, since {note['since']}\n"
        f"{addresses}\n"
        f"Stop it with Ctrl-C in its terminal or with: kill {note['pid']}\n"
        "To have another one beside it: spincycle dev --ephemeral --free-ports"
    )
