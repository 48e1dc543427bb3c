"""The frame of a service process: options, configuration, logs, signals, exit code."""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import click
import structlog
import uvloop

from spincycle.runtime.config import Config, ConfigError, load_config, print_config
from spincycle.runtime.logs import configure_logs
from spincycle.runtime.memory_watchdog import EXIT_OUT_OF_MEMORY, MemoryProbe, MemoryWatchdog
from spincycle.runtime.polling import keep_from_children
from spincycle.runtime.version import VERSION

C = TypeVar("C", bound=Config)

EXIT_CONFIG = 2
"""Exit code of a process that cannot be configured."""

GC_THRESHOLD = 10_000
"""Objects that are made before the collector looks for cycles among them."""

BEGIN_AGAIN_AFTER = 1.0
"""Seconds between the failure of a duty and its next beginning."""

_watchdogs: list[MemoryWatchdog] = []
"""The one of this process, if it is a service's."""


class Shutdown:
    """The wish to end, which a signal makes and which every part of a process can await."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()
        self._reload: Callable[[], None] | None = None

    def ask(self) -> None:
        """Wish for the end."""
        self._asked.set()

    @property
    def asked(self) -> bool:
        """Whether somebody wished for the end."""
        return self._asked.is_set()

    async def wait(self) -> None:
        """Return when somebody wishes for the end."""
        await self._asked.wait()

    def on_reload(self, callback: Callable[[], None]) -> None:
        """Call back at each SIGHUP."""
        self._reload = callback

    def reload(self) -> None:
        """Do what SIGHUP asks for, if anything."""
        if self._reload:
            self._reload()


def service_command(
    name: str,
    model: type[C],
    serve: Callable[[C, Shutdown], Awaitable[None]],
    run: Callable[[Coroutine[None, None, int]], int] = uvloop.run,
) -> click.Command:
    """The console script of a service, which runs `serve` until a signal asks it to end.

    `run` runs it on an event loop of its kind.

    Exit codes: 0 after a clean end, 1 if serving failed, 2 if the configuration is wrong, 3 if
    the process ran out of memory.
    """

    @click.command(name=f"spincycle-{name}", help=f"Run the {name.replace('-', ' ')}.")
    @click.option(
        "--config",
        "file",
        type=click.Path(path_type=Path),
        help="YAML file with configuration; the environment wins over it.",
    )
    @click.option(
        "--print-config", "show", is_flag=True, help="Print the configuration in force and end."
    )
    @click.version_option(VERSION, prog_name=f"spincycle-{name}")
    def command(file: Path | None, show: bool) -> None:
        try:
            config = load_config(model, file)
        except ConfigError as error:
            for line in str(error).splitlines():
                click.echo(f"error: {line}", err=True)
            sys.exit(EXIT_CONFIG)
        if show:
            click.echo(print_config(config), nl=False)
            return
        configure_logs(config.log, name)
        keep_from_children()
        sys.exit(run(_run(config, serve)))

    return command


async def keep_up(duty: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Do what goes on for as long as a process lives; if it fails, begin it again.

    For what nobody has thought of: one such failure must not end a process, silently or not,
    with everything else that it does. It is logged in full each time.

    Raises:
        ConfigError: as the work raised it; beginning again would not help.
    """
    while True:
        try:
            await work()
        except ConfigError:
            raise
        except MemoryError:
            _note_memory_error()
            with suppress(MemoryError):
                structlog.get_logger().error("out of memory; begins again", duty=duty)
            await asyncio.sleep(BEGIN_AGAIN_AFTER)
        except Exception:  # noqa: BLE001 # whatever it is, what else the process does goes on
            structlog.get_logger().exception("failed and begins again", duty=duty)
            await asyncio.sleep(BEGIN_AGAIN_AFTER)
        else:
            return


async def run_beside(shutdown: Shutdown, *duties: Coroutine[Any, Any, None]) -> None:
    """Run the duties until somebody wishes for the end, which ends them all.

    A duty that fails ends the others too, and its exception is raised as it is.
    """
    tasks = {asyncio.create_task(duty) for duty in duties}
    asked = asyncio.create_task(shutdown.wait())
    running = tasks | {asked}
    try:
        while not asked.done():
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        for task in (*tasks, asked):
            task.cancel()
        await asyncio.gather(*tasks, asked, return_exceptions=True)


def _note_memory_error() -> None:
    for watchdog in _watchdogs:
        watchdog.failed()


def _on_loop_failure(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    if isinstance(context.get("exception"), MemoryError):
        _note_memory_error()
    loop.default_exception_handler(context)


async def _run(config: C, serve: Callable[[C, Shutdown], Awaitable[None]]) -> int:
    log = structlog.get_logger()
    shutdown = Shutdown()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, shutdown.ask)
    loop.add_signal_handler(signal.SIGHUP, shutdown.reload)
    loop.set_exception_handler(_on_loop_failure)
    watchdog = MemoryWatchdog(partial(loop.call_soon_threadsafe, shutdown.ask), MemoryProbe(loop))
    _watchdogs[:] = [watchdog]
    watchdog.start()
    # What is loaded by now stays for ever; collecting it again and again is wasted work.
    gc.collect()
    gc.freeze()
    # Messages and entries come and go by the hundred and are in no cycle; looking for cycles
    # after each 700 objects took an eighth of a busy runner's time.
    gc.set_threshold(GC_THRESHOLD, 20, 20)
    try:
        await serve(config, shutdown)
    except ConfigError as error:
        log.error("cannot start", problem=str(error))  # noqa: TRY400 # no traceback for a person's mistake
        return EXIT_CONFIG
    except Exception:
        log.exception("failed")
        return EXIT_OUT_OF_MEMORY if watchdog.has_ended else 1
    log.info("ended")
    return EXIT_OUT_OF_MEMORY if watchdog.has_ended else 0
