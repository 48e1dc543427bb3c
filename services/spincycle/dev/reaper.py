"""A process that cleans up after a supervisor that was killed.

A killed process cannot clean up, so a second one waits for its end: the kernel closes the
supervisor's end of a pipe however it dies. The reaper also holds the stack's lock until it has
finished, so that no other stack starts before.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from spincycle.dev.stack_processes import end_processes, plain_environment

_STOP_TIMEOUT = 3.0
_DISMISSED = b"."


class Reaper:
    """Starts a process that ends all processes of one directory if this one is killed."""

    def __init__(self, home: Path, remove: Sequence[Path] = (), hold: int | None = None) -> None:
        """Start the process.

        Args:
            home: directory of the stack, which marks its processes.
            remove: files and directories to delete if this process is killed.
            hold: descriptor of a lock to hold until the cleanup has finished.
        """
        watched, self._own_end = os.pipe()
        try:
            self._process = subprocess.Popen(  # noqa: S603 # no shell, and no text from outside
                [sys.executable, "-P", "-m", __name__, str(watched), home, *remove],
                pass_fds=[watched] if hold is None else [watched, hold],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=plain_environment(),
                start_new_session=True,
            )
        except BaseException:
            os.close(self._own_end)
            raise
        finally:
            os.close(watched)

    def dismiss(self) -> None:
        """End the process without a cleanup."""
        with contextlib.suppress(BrokenPipeError):  # the reaper itself was killed
            os.write(self._own_end, _DISMISSED)
        os.close(self._own_end)
        self._process.wait()


def main(watched: int, home: Path, remove: Sequence[Path]) -> None:
    """Wait until the other end of the pipe is closed, then clean up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if os.read(watched, 1) == _DISMISSED:
        return
    end_processes(home, _STOP_TIMEOUT)
    for path in remove:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), [Path(name) for name in sys.argv[3:]])
