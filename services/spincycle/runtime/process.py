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
from typing import Any, NoReturn, TypeVar

import click
import structlog
import uvloop

from spincycle.runtime.backoff import Backoff
from spincycle.runtime.config import (
    Config,
    ConfigError,
    close_inherited,
    load_config,
    print_config,
)
from spincycle.runtime.dumpable import set_dumpable
from spincycle.runtime.logs import configure_logs
from spincycle.runtime.memory_watchdog import EXIT_OUT_OF_MEMORY, MemoryProbe, MemoryWatchdog
from spincycle.runtime.polling import unset_for_children
from spincycle.runtime.version import VERSION

C = TypeVar("C", bound=Config)

EXIT_CONFIG = 2
"""Exit code of a process that cannot be configured."""

GC_THRESHOLD = 10_000
"""Net allocations of objects between two runs of the garbage collector."""

RESTART_DELAY = 1.0
"""Maximum seconds between the failure of a background task and its restart."""

_watchdogs: list[MemoryWatchdog] = []
"""The memory watchdog of this process; empty unless the process is a service."""


class Shutdown:
    """Shutdown signal of a process: requested by SIGTERM or SIGINT, awaited by its parts."""

    def __init__(self) -> None:
        self._requested = asyncio.Event()
        self._reload: Callable[[], None] | None = None

    def request(self) -> None:
        """Request shutdown."""
        self._requested.set()

    @property
    def requested(self) -> bool:
        """Whether shutdown has been requested."""
        return self._requested.is_set()

    async def wait(self) -> None:
        """Return when shutdown is requested."""
        await self._requested.wait()

    def on_reload(self, callback: Callable[[], None]) -> None:
        """Set the callback for SIGHUP."""
        self._reload = callback

    def reload(self) -> None:
        """Call the callback for SIGHUP, if one is set."""
        if self._reload:
            self._reload()


def service_command(
    name: str,
    model: type[C],
    serve: Callable[[C, Shutdown], Awaitable[None]],
    run: Callable[[Coroutine[None, None, int]], int] = uvloop.run,
    prepare: Callable[[C], None] = lambda _: None,
) -> click.Command:
    """Return the console script of a service, which runs `serve` until SIGTERM or SIGINT.

    `run` runs the coroutine on an event loop, uvloop by default. `prepare` is called before that
    and before the logs are configured, while the process has one thread; it may raise ConfigError.
    Other processes of the same account cannot read or trace the process, unless its configuration
    says `dumpable`.

    Exit codes: 0 after a clean shutdown, 1 if serving failed, 2 if the configuration is invalid,
    3 if the process ran out of memory.
    """

    @click.command(name=f"spincycle-{name}", help=f"Run the {name.replace('-', ' ')}.")
    @click.option(
        "--config",
        "file",
        type=click.Path(path_type=Path),
        help="YAML file with configuration; environment variables override it.",
    )
    @click.option(
        "--print-config", "show", is_flag=True, help="Print the effective configuration and exit."
    )
    @click.option(
        "--stack",
        hidden=True,
        expose_value=False,
        help="Directory of the spincycle dev that started the process and finds it by this.",
    )
    @click.version_option(VERSION, prog_name=f"spincycle-{name}")
    def command(file: Path | None, show: bool) -> None:
        set_dumpable(allowed=False)
        try:
            config = load_config(model, file)
            close_inherited(file)
        except ConfigError as error:
            _exit_unconfigured(error)
        if show:
            click.echo(print_config(config), nl=False)
            return
        if config.dumpable:
            set_dumpable(allowed=True)
        unset_for_children()
        try:
            prepare(config)
        except ConfigError as error:
            _exit_unconfigured(error)
        configure_logs(config.log, name)
        sys.exit(run(_run(config, serve)))

    return command


def _exit_unconfigured(error: ConfigError) -> NoReturn:
    for line in str(error).splitlines():
        click.echo(f"error: {line}", err=True)
    sys.exit(EXIT_CONFIG)


async def supervise(background_task: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a background task of a process; restart it within `RESTART_DELAY` if it fails.

    An unexpected exception in one background task must not end the process with all its other
    work. Each failure is logged with its traceback.

    Raises:
        ConfigError: as raised by the task; a restart would not help.
    """
    backoff = Backoff(RESTART_DELAY, RESTART_DELAY)
    while True:
        try:
            await work()
        except ConfigError:
            raise
        except MemoryError:
            _note_memory_error()
            with suppress(MemoryError):
                structlog.get_logger().error(
                    "background task out of memory; restarting", background_task=background_task
                )
            await backoff.wait()
        except Exception:  # noqa: BLE001 # the other tasks of the process must not be affected
            structlog.get_logger().exception(
                "background task failed; restarting", background_task=background_task
            )
            await backoff.wait()
        else:
            return


async def run_until_shutdown(shutdown: Shutdown, *work: Coroutine[Any, Any, None]) -> None:
    """Run coroutines concurrently until shutdown is requested, then cancel them.

    If one of them fails, the others are cancelled and its exception is raised unchanged.
    """
    tasks = {asyncio.create_task(coroutine) for coroutine in work}
    requested = asyncio.create_task(shutdown.wait())
    running = tasks | {requested}
    try:
        while not requested.done():
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
    finally:
        for task in (*tasks, requested):
            task.cancel()
        await asyncio.gather(*tasks, requested, return_exceptions=True)


def _note_memory_error() -> None:
    for watchdog in _watchdogs:
        watchdog.record_failure()


def _on_loop_failure(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    if isinstance(context.get("exception"), MemoryError):
        _note_memory_error()
    loop.default_exception_handler(context)


async def _run(config: C, serve: Callable[[C, Shutdown], Awaitable[None]]) -> int:
    log = structlog.get_logger()
    shutdown = Shutdown()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, shutdown.request)
    loop.add_signal_handler(signal.SIGHUP, shutdown.reload)
    loop.set_exception_handler(_on_loop_failure)
    watchdog = MemoryWatchdog(
        partial(loop.call_soon_threadsafe, shutdown.request), MemoryProbe(loop)
    )
    _watchdogs[:] = [watchdog]
    watchdog.start()
    # Objects loaded by now live as long as the process; exclude them from every collection.
    gc.collect()
    gc.freeze()
    # Messages and entries are short-lived and acyclic; with the default threshold of 700 objects,
    # collections took an eighth of a busy runner's CPU time.
    gc.set_threshold(GC_THRESHOLD, 20, 20)
    try:
        await serve(config, shutdown)
    except ConfigError as error:
        log.error("cannot start", problem=str(error))  # noqa: TRY400 # a configuration mistake needs no traceback
        return EXIT_CONFIG
    except Exception:
        log.exception("service failed")
        return EXIT_OUT_OF_MEMORY if watchdog.triggered else 1
    log.info("service ended")
    return EXIT_OUT_OF_MEMORY if watchdog.triggered else 0
