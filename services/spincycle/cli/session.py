"""The session of a command: its settings, terminal, connections and output format."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import click

from spincycle.cli.options import given_options
from spincycle.cli.problem import TERMINATED, Problem, from_service_error
from spincycle.cli.render.terminal import Terminal
from spincycle.cli.settings import Settings, resolve
from spincycle.errors import SpinCycleError

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from spincycle.cli.transport.backend import Backend

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")


class CommandSession:
    """Runs the calls of one command and prints their results in the chosen format."""

    def __init__(self, settings: Settings, terminal: Terminal, output: str = "table") -> None:
        self.settings = settings
        self.terminal = terminal
        self.output = output
        # Imported late: help, version and completion take a third less time without it.
        import asyncio

        self._runner = asyncio.Runner()
        self._backend: Backend | None = None

    def call(self, call: Callable[[Backend], Awaitable[Result]]) -> Result:
        """Run a coroutine that calls the services, and return its result.

        SIGTERM cancels it, as Ctrl-C does, so that the terminal is restored.

        Raises:
            Problem: a call failed.
        """
        import asyncio

        try:
            return self._runner.run(self._run(call))
        except asyncio.CancelledError:
            sys.exit(TERMINATED)

    async def _run(self, call: Callable[[Backend], Awaitable[Result]]) -> Result:
        import asyncio
        import signal

        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
        if self._backend is None:
            self._backend = open_backend(self.settings)
        try:
            return await call(self._backend)
        except SpinCycleError as error:
            raise from_service_error(error, self.settings.token_hint)
        finally:
            loop.remove_signal_handler(signal.SIGTERM)

    def show(
        self,
        data: Message | Sequence[Message],
        names: Iterable[str],
        lines: Callable[[], Iterable[str]],
    ) -> None:
        """Print `data` in the chosen format: `lines` for table, `names` for name."""
        if self.output == "table":
            self.terminal.lines(lines())
        elif self.output == "name":
            self.terminal.lines(names)
        else:
            from spincycle.cli.render.machine import dump, to_plain

            plain = (
                [to_plain(one) for one in data] if isinstance(data, Sequence) else to_plain(data)
            )
            self.terminal.line(dump(plain, self.output, unicode=self.terminal.unicode))

    def show_next(self, data: Message, name: str, lines: Callable[[], Iterable[str]]) -> None:
        """Print one item of a stream: a line of JSON, a YAML document, or as `show` does."""
        if self.output in {"table", "name"}:
            self.show(data, [name] if name else [], lines)
        else:
            from spincycle.cli.render.machine import dump_next, to_plain

            text = dump_next(to_plain(data), self.output, unicode=self.terminal.unicode)
            self.terminal.line(text)
        self.terminal.out.flush()

    def close(self) -> None:
        """Close the connections and the event loop."""
        if self._backend is not None:
            self._runner.run(self._backend.close())
        self._runner.close()


def open_backend(settings: Settings) -> Backend:
    """Return the backend for the settings: REST if they have a gateway, else gRPC."""
    if settings.rest:
        from spincycle.cli.transport.rest_backend import RestBackend

        return RestBackend(settings)
    if not settings.debug:
        # gRPC's own log lines would repeat the error messages.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from spincycle.cli.transport.grpc_backend import GrpcBackend

    return GrpcBackend(settings)


def with_session(
    command: Callable[Concatenate[CommandSession, Arguments], int | None],
) -> Callable[Arguments, None]:
    """Pass a session to a command, and exit with the code that it returns."""

    @wraps(command)
    def wrapper(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        context = click.get_current_context()
        options = given_options(context)
        settings = resolve(options, os.environ)
        session = CommandSession(settings, Terminal(), options.get("output", "table"))
        try:
            code = command(session, *args, **kwargs)
        finally:
            session.close()
        context.exit(code or 0)

    return wrapper


def exit_code_on_error(
    exit_code: int,
) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Make a command exit with `exit_code` instead of 1 on an error."""

    def decorate(command: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        @wraps(command)
        def wrapper(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            try:
                return command(*args, **kwargs)
            except Problem as problem:
                problem.exit_code = exit_code
                raise

        return wrapper

    return decorate
