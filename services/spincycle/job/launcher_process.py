"""The launcher: a small process that starts, signals and reaps the programs of jobs.

The job runner executes this file by its path, without site-packages, so that the process is small
and starts fast; it imports only the standard library. launcher.py is the other end.

Each packet on the socket is a JSON object. The runner sends:

    {"start": id, "argv": […], "environment": {…}, "directory": "…"}, with stdout and stderr
    {"start": id, "file": true}, with a file of the other keys, stdout and stderr
    {"signal": number, "program": id}

The launcher sends:

    {"started": id, "pid": pid}, with a pidfd
    {"refused": id, "errno": number or null, "text": why}
    {"ended": id, "code": exit code, or -N for signal N}

Texts are bytes of the system, decoded as UTF-8 with surrogateescape.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

MAX_PACKET = 32 * 1024
"""Most bytes of a packet; the arguments and environment of a larger start go in a file."""

MAX_DESCRIPTORS = 3
"""Most descriptors of a packet."""

END_TIMEOUT = 5.0
"""Seconds between SIGTERM and SIGKILL for programs that outlive the runner."""

_KILL_TIMEOUT = 5.0
_PR_SET_CHILD_SUBREAPER = 36


class RunnerLost(Exception):
    """The runner has ended or closed the socket."""


class _Child:
    """A running program.

    Attributes:
        process: it leads a session and a process group of its own.
        number: id that the runner gave it.
        signalled: whether the runner has sent a signal; its group then ends with it.
    """

    def __init__(self, process: subprocess.Popen[bytes], number: int) -> None:
        self.process = process
        self.number = number
        self.signalled = False

    def signal(self, signal_number: int) -> None:
        """Send a signal to the process group."""
        self.signalled = True
        # The group exists, and its id is not reused, until its leader is reaped.
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal_number)


class LauncherLoop:
    """Serves one runner until it ends, then ends the programs that still run.

    Daemons that programs left behind become children of this process, which reaps them.
    """

    def __init__(self, sock: socket.socket, runner: int) -> None:
        """Serve the process that `runner`, a pidfd, refers to."""
        self._sock = sock
        self._runner = runner
        self._children: dict[int, _Child] = {}
        self._by_number: dict[int, _Child] = {}
        self._woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # A full pipe wakes as well.
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # Not SIG_IGN, which programs would inherit. The end of the runner ends this process.
            signal.signal(number, lambda *_: None)

    def run(self) -> None:
        """Serve until the runner has ended, then end everything."""
        with suppress(RunnerLost):
            while True:
                self._serve_once()
        self._sock.close()
        for child in self._children.values():
            child.signal(signal.SIGTERM)
        if not self._reap_until(time.monotonic() + END_TIMEOUT):
            for child in self._children.values():
                child.signal(signal.SIGKILL)
            self._reap_until(time.monotonic() + _KILL_TIMEOUT)

    def _serve_once(self) -> None:
        ready = self._poll(None, self._sock.fileno(), self._runner)
        self._reap()
        if self._sock.fileno() in ready:
            self._receive()
        elif self._runner in ready:
            raise RunnerLost

    def _reap_until(self, deadline: float) -> bool:
        """Reap children; return whether all programs have ended before the deadline."""
        self._reap()
        while self._children:
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._poll(left)
            self._reap()
        return True

    def _poll(self, timeout: float | None, *descriptors: int) -> set[int]:
        waiting = select.poll()
        for descriptor in (self._woken, *descriptors):
            waiting.register(descriptor, select.POLLIN)
        ready = {
            descriptor
            for descriptor, _ in waiting.poll(None if timeout is None else 1000 * timeout)
        }
        if self._woken in ready:
            with suppress(BlockingIOError):
                os.read(self._woken, 4096)
        return ready

    def _receive(self) -> None:
        try:
            packet, descriptors, _, _ = socket.recv_fds(
                self._sock, MAX_PACKET, MAX_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
            )
        except OSError as error:
            raise RunnerLost from error
        try:
            if not packet:
                raise RunnerLost
            message = json.loads(packet)
            if "start" in message:
                self._start(message, descriptors)
            elif child := self._by_number.get(message["program"]):
                child.signal(message["signal"])
        finally:
            for descriptor in descriptors:
                os.close(descriptor)

    def _start(self, message: dict[str, Any], descriptors: list[int]) -> None:
        number = message["start"]
        try:
            *files, stdout, stderr = descriptors
            for file in files:
                message |= json.loads(_content(file))
            directory = message["directory"]
            process = subprocess.Popen(  # noqa: S603 # what the job says, without a shell
                [_bytes(word) for word in message["argv"]],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=None if directory is None else _bytes(directory),
                env={_bytes(name): _bytes(value) for name, value in message["environment"].items()},
                start_new_session=True,
            )
        except OSError as error:
            self._send({"refused": number, "errno": error.errno, "text": error.strerror})
        except ValueError as error:
            self._send({"refused": number, "errno": None, "text": str(error)})
        else:
            child = _Child(process, number)
            self._children[process.pid] = self._by_number[number] = child
            # It is not reaped before: the pid is its own.
            pidfd = os.pidfd_open(process.pid)
            try:
                self._send({"started": number, "pid": process.pid}, [pidfd])
            finally:
                os.close(pidfd)

    def _reap(self) -> None:
        """Reap every child that has ended, and report those that are programs."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            child = self._children.pop(ended.si_pid, None)
            if child is not None and child.signalled:
                # While the leader is not reaped, the id of the group belongs to it.
                child.signal(signal.SIGKILL)
            _, status = os.waitpid(ended.si_pid, 0)
            if child is not None:
                code = os.waitstatus_to_exitcode(status)
                # Popen must not wait for the pid, which may soon belong to another process.
                child.process.returncode = code
                del self._by_number[child.number]
                with suppress(RunnerLost):
                    self._send({"ended": child.number, "code": code})

    def _send(self, message: dict[str, Any], descriptors: list[int] | None = None) -> None:
        try:
            socket.send_fds(self._sock, [json.dumps(message).encode()], descriptors or [])
        except OSError as error:
            raise RunnerLost from error


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _content(file: int) -> bytes:
    return os.pread(file, os.fstat(file).st_size, 0)


def _stop_ignoring_signals() -> None:
    """Reset the signals that the process which started the runner ignores, as a shell's & does.

    Programs would ignore them, too. Those that Python itself ignores it resets for each program.
    """
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def main(descriptor: int, runner: int) -> None:
    """Serve the runner with process id `runner` on a socket."""
    try:
        watch = os.pidfd_open(runner)
    except ProcessLookupError:
        # It has ended already.
        return
    if os.getppid() != runner:
        # It has ended already, and its pid belongs to another process.
        return
    sock = socket.socket(fileno=descriptor)
    sock.set_inheritable(False)
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _stop_ignoring_signals()
    LauncherLoop(sock, watch).run()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
