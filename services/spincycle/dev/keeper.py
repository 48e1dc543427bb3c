"""The last one out: ends what a supervisor leaves behind when it is killed.

A killed process cannot clean up, so a second one waits for its death: the kernel closes
the supervisor's end of a pipe however it dies. It also holds the stack's lock until all is
clean, so that nobody starts amid the ruins.
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

from spincycle.dev.marked import end_marked

_PATIENCE = 3.0
_ALL_IS_WELL = b"."


class Keeper:
    """Watches over the processes that are marked with one directory."""

    def __init__(self, home: Path, remove: Sequence[Path] = (), hold: int | None = None) -> None:
        """Start watching.

        Args:
            home: what the processes are marked with.
            remove: files and directories that are not to stay if the supervisor is killed.
            hold: descriptor of a lock that is to stay taken until all is clean.
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
                start_new_session=True,
            )
        except BaseException:
            os.close(self._own_end)
            raise
        finally:
            os.close(watched)

    def dismiss(self) -> None:
        """Stop watching: everything has been cleaned up."""
        with contextlib.suppress(BrokenPipeError):  # it was killed itself
            os.write(self._own_end, _ALL_IS_WELL)
        os.close(self._own_end)
        self._process.wait()


def main(watched: int, home: Path, remove: Sequence[Path]) -> None:
    """Wait until the other end of the pipe is closed, then clean up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    if os.read(watched, 1) == _ALL_IS_WELL:
        return
    end_marked(home, _PATIENCE)
    for path in remove:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), [Path(name) for name in sys.argv[3:]])
