"""The connection with a launcher process: programs that it starts and runs."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import socket
from collections import deque
from contextlib import suppress
from typing import Any

from spincycle.job import launcher_process
from spincycle.job.errors import LauncherLost


class LaunchedProgram:
    """A program that is a child of the launcher.

    Attributes:
        name: the program, for messages.
    """

    def __init__(self, connection: LauncherConnection, number: int, name: str) -> None:
        self.name = name
        self._connection = connection
        self._number = number
        self._ended: asyncio.Future[int | None] = connection.loop.create_future()
        self._pid = 0
        self._pidfd = -1

    @property
    def running(self) -> bool:
        """Whether its end has not been reported yet."""
        return not self._ended.done()

    async def wait(self) -> int:
        """Wait for its end; return its exit code, or -N for signal N.

        Raises:
            LauncherLost: the launcher ended, and the program was killed.
        """
        code = await asyncio.shield(self._ended)
        if code is None:
            raise LauncherLost(self.name)
        return code

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its process group; what is left of it is killed when it ends."""
        if self.running:
            self._connection.signal(self._number, number)

    def on_started(self, pid: int, pidfd: int) -> None:
        """Record its process; the descriptor is closed at its end."""
        self._pid, self._pidfd = pid, pidfd

    def on_ended(self, code: int | None) -> None:
        """Record its exit code; None if the launcher ended before."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
        self._ended.set_result(code)

    def kill(self) -> None:
        """Kill the process group without the launcher."""
        with suppress(ProcessLookupError, PermissionError):
            signal.pidfd_send_signal(self._pidfd, 0)
            os.killpg(self._pid, signal.SIGKILL)


class LauncherConnection:
    """Sends starts and signals to a launcher, and receives what became of them."""

    def __init__(self, sock: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._sock = sock
        self._numbers = itertools.count(1)
        self._starting: dict[int, tuple[LaunchedProgram, asyncio.Future[LaunchedProgram]]] = {}
        self._programs: dict[int, LaunchedProgram] = {}
        self._unsent: deque[bytes] = deque()
        self._writable: asyncio.Future[None] | None = None
        self._lost: asyncio.Future[None] = loop.create_future()
        loop.add_reader(sock, self._on_readable)

    async def until_lost(self) -> None:
        """Return when the launcher has ended."""
        await asyncio.shield(self._lost)

    def lose(self) -> None:
        """Treat the launcher as ended."""
        if not self._lost.done():
            self._lost.set_result(None)

    def close(self) -> None:
        """Stop serving; programs are killed if the launcher has ended, else it ends them."""
        is_lost = self._lost.done()
        self.loop.remove_reader(self._sock)
        self.loop.remove_writer(self._sock)
        self.lose()
        self._wake_senders()
        for program, started in self._starting.values():
            if not started.done():
                started.set_exception(LauncherLost(program.name))
        for program in self._programs.values():
            if is_lost:
                program.kill()
            program.on_ended(None)
        self._starting.clear()
        self._programs.clear()

    async def start(
        self, name: str, keys: dict[str, Any], stdout: int, stderr: int
    ) -> LaunchedProgram:
        """Start a program and return it."""
        number = next(self._numbers)
        started: asyncio.Future[LaunchedProgram] = self.loop.create_future()
        files: list[int] = []
        packet = json.dumps({"start": number, **keys}).encode()
        try:
            if len(packet) > launcher_process.MAX_PACKET:
                files.append(_file_of(json.dumps(keys).encode()))
                packet = json.dumps({"start": number, "file": True}).encode()
            await self._send_start(packet, [*files, stdout, stderr], name)
        finally:
            for file in files:
                os.close(file)
        self._starting[number] = LaunchedProgram(self, number, name), started
        try:
            return await started
        except asyncio.CancelledError:
            # Received after the start: the program is not running yet, or is its group's leader.
            self._starting.pop(number, None)
            self.signal(number, signal.SIGKILL)
            raise

    def signal(self, number: int, signal_number: signal.Signals) -> None:
        """Send a signal to the process group of a program."""
        packet = json.dumps({"signal": signal_number, "program": number}).encode()
        self._unsent.append(packet)
        self._flush()

    async def _send_start(self, packet: bytes, descriptors: list[int], name: str) -> None:
        while not self._lost.done():
            if not self._unsent:
                try:
                    socket.send_fds(self._sock, [packet], descriptors)
                except BlockingIOError:
                    pass
                except (BrokenPipeError, ConnectionResetError):
                    break
                else:
                    return
            await self._until_writable()
        raise LauncherLost(name)

    async def _until_writable(self) -> None:
        if self._writable is None:
            self._writable = self.loop.create_future()
            self.loop.add_writer(self._sock, self._on_writable)
        await asyncio.shield(self._writable)

    def _on_writable(self) -> None:
        self._flush()
        if not self._unsent:
            self._wake_senders()

    def _wake_senders(self) -> None:
        self.loop.remove_writer(self._sock)
        if self._writable is not None:
            self._writable.set_result(None)
            self._writable = None

    def _flush(self) -> None:
        while self._unsent and not self._lost.done():
            try:
                self._sock.send(self._unsent[0])
            except BlockingIOError:
                self.loop.add_writer(self._sock, self._on_writable)
                return
            except OSError:
                # The reader notices the end of the launcher.
                return
            self._unsent.popleft()

    def _on_readable(self) -> None:
        while not self._lost.done():
            try:
                packet, descriptors, _, _ = socket.recv_fds(
                    self._sock,
                    launcher_process.MAX_PACKET,
                    launcher_process.MAX_DESCRIPTORS,
                    socket.MSG_CMSG_CLOEXEC,
                )
            except BlockingIOError:
                return
            except ConnectionResetError:
                # It did not read all packets before it ended. Its own last packets follow.
                continue
            if not packet:
                self.lose()
                return
            self._on_message(json.loads(packet), descriptors)

    def _on_message(self, message: dict[str, Any], descriptors: list[int]) -> None:
        if "started" in message:
            self._on_started(message["started"], message["pid"], *descriptors)
        elif "refused" in message:
            _, started = self._starting.pop(message["refused"], (None, None))
            if started is not None and not started.done():
                started.set_exception(_refusal(message["errno"], message["text"]))
        else:
            program = self._programs.pop(message["ended"], None)
            if program is not None:
                program.on_ended(message["code"])

    def _on_started(self, number: int, pid: int, pidfd: int) -> None:
        program, started = self._starting.pop(number, (None, None))
        if program is None or started is None or started.done():
            # Cancelled, and killed by the signal that followed the start.
            os.close(pidfd)
            return
        program.on_started(pid, pidfd)
        self._programs[number] = program
        started.set_result(program)


def _refusal(number: int | None, text: str) -> Exception:
    return ValueError(text) if number is None else OSError(number, text)


def _file_of(content: bytes) -> int:
    file = os.memfd_create("spincycle start")
    with suppress(BlockingIOError):
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(file, rest) :]
    return file
