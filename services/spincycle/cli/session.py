"""What a command works with: settings, the terminal, the services, the form of its output."""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

import click

from spincycle.cli.options import given_options
from spincycle.cli.problem import TERMINATED, Problem, from_catalogue
from spincycle.cli.render.terminal import Terminal
from spincycle.cli.settings import Settings, resolve
from spincycle.errors import SpinCycleError

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from spincycle.cli.transport.backend import Backend

Answer = TypeVar("Answer")
Arguments = ParamSpec("Arguments")


class CommandSession:
    """One call of spinc."""

    def __init__(self, settings: Settings, terminal: Terminal, output: str = "table") -> None:
        self.settings = settings
        self.terminal = terminal
        self.output = output
        # Help, versions and completion of commands do without: a third of their time.
        import asyncio

        self._runner = asyncio.Runner()
        self._backend: Backend | None = None

    def ask(self, question: Callable[[Backend], Awaitable[Answer]]) -> Answer:
        """The answer of the services to a question.

        SIGTERM ends it as Ctrl-C does, so that the terminal is left as it was.

        Raises:
            Problem: a call failed.
        """
        import asyncio

        try:
            return self._runner.run(self._answer(question))
        except asyncio.CancelledError:
            sys.exit(TERMINATED)

    async def _answer(self, question: Callable[[Backend], Awaitable[Answer]]) -> Answer:
        import asyncio
        import signal

        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
        if self._backend is None:
            self._backend = open_backend(self.settings)
        try:
            return await question(self._backend)
        except SpinCycleError as error:
            raise from_catalogue(error)
        finally:
            loop.remove_signal_handler(signal.SIGTERM)

    def show(
        self,
        data: Message | Sequence[Message],
        names: Iterable[str],
        lines: Callable[[], Iterable[str]],
    ) -> None:
        """Print `data` in the form that was asked for; `lines` is what it is as a table."""
        if self.output == "table":
            self.terminal.lines(lines())
        elif self.output == "name":
            self.terminal.lines(names)
        else:
            from spincycle.cli.render.machine import dump, to_plain

            plain = (
                [to_plain(one) for one in data] if isinstance(data, Sequence) else to_plain(data)
            )
            self.terminal.line(dump(plain, self.output, self.terminal.unicode))

    def show_next(self, data: Message, name: str, lines: Callable[[], Iterable[str]]) -> None:
        """Print one of many, as it comes: a line of JSON, a YAML document, or as `show` does."""
        if self.output in {"table", "name"}:
            self.show(data, [name] if name else [], lines)
        else:
            from spincycle.cli.render.machine import dump_next, to_plain

            text = dump_next(to_plain(data), self.output, self.terminal.unicode)
            self.terminal.line(text)
        self.terminal.out.flush()

    def close(self) -> None:
        """Let go of connections and of the event loop."""
        if self._backend is not None:
            self._runner.run(self._backend.close())
        self._runner.close()


def open_backend(settings: Settings) -> Backend:
    """The services where the settings say they are."""
    if settings.rest:
        from spincycle.cli.transport.rest_backend import RestBackend

        return RestBackend(settings)
    if not settings.debug:
        # What gRPC says of broken connections is told in the words of the catalogue.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from spincycle.cli.transport.grpc_backend import GrpcBackend

    return GrpcBackend(settings)


def with_session(
    command: Callable[Concatenate[CommandSession, Arguments], int | None],
) -> Callable[Arguments, None]:
    """Give a command its session, and make its answer the exit code."""

    @wraps(command)
    def called(*args: Arguments.args, **kwargs: Arguments.kwargs) -> None:
        context = click.get_current_context()
        options = given_options(context)
        settings = resolve(options, os.environ)
        session = CommandSession(settings, Terminal(), options.get("output", "table"))
        try:
            code = command(session, *args, **kwargs)
        finally:
            session.close()
        context.exit(code or 0)

    return called


def answering(
    exit_code: int,
) -> Callable[[Callable[Arguments, Answer]], Callable[Arguments, Answer]]:
    """Let a command whose exit code is its answer end with `exit_code` if there is no answer."""

    def decorated(command: Callable[Arguments, Answer]) -> Callable[Arguments, Answer]:
        @wraps(command)
        def called(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Answer:
            try:
                return command(*args, **kwargs)
            except Problem as problem:
                problem.exit_code = exit_code
                raise

        return called

    return decorated
