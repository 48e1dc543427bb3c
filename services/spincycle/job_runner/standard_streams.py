"""sys.stdout and sys.stderr of a job runner: what a job writes to them is output of its try.

Only writes through Python are attributed. The descriptors 1 and 2 stay those of the process, since
all jobs of a runner share them.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO

from spincycle.job.current_job import CURRENT_OUTPUT
from spincycle.job.try_output import STDERR, STDOUT, TryOutput

_ENCODING = "utf-8"


class JobStream(io.TextIOBase):
    """A standard stream: writes of a job go to the output of its try, others to `process_stream`.

    Job code is recognised by the context at each write, so a reference that a logging handler or
    a module kept since its import is as good as sys.stdout. Attributes that are not defined here
    are those of `process_stream`.
    """

    def __init__(self, process_stream: TextIO, stream: int) -> None:
        self._process_stream = process_stream
        self._stream = stream
        self.buffer = _JobBuffer(process_stream, stream)

    def write(self, text: str, /) -> int:
        """Write a text; in a job as UTF-8."""
        output = _current_output()
        if output is None:
            return self._process_stream.write(text)
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        output.write(self._stream, text.encode(errors="replace"))
        return len(text)

    def flush(self) -> None:
        """Flush the stream of the process; a try's output is not buffered."""
        if _current_output() is None:
            self._process_stream.flush()

    def close(self) -> None:
        """Do nothing: other jobs and the runner use the stream, too."""

    def isatty(self) -> bool:
        """Return whether it is a terminal; in a job it is not."""
        return _current_output() is None and self._process_stream.isatty()

    def fileno(self) -> int:
        """Return the descriptor of the process, which does not lead to the output of a try."""
        return self._process_stream.fileno()

    def writable(self) -> bool:
        """Return True."""
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override] # the base class has a plain attribute
        """Name of the encoding."""
        return self._process_stream.encoding if _current_output() is None else _ENCODING

    @property
    def errors(self) -> str | None:  # type: ignore[override] # as `encoding`
        """Name of the handling of characters that cannot be encoded."""
        return self._process_stream.errors if _current_output() is None else "replace"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._process_stream, name)


class _JobBuffer(io.BufferedIOBase):
    """The binary side of a JobStream."""

    def __init__(self, process_stream: TextIO, stream: int) -> None:
        self._process_stream = process_stream
        self._stream = stream

    def write(self, data: Any, /) -> int:
        output = _current_output()
        if output is None:
            return self._process_stream.buffer.write(data)
        copied = memoryview(data).tobytes()
        output.write(self._stream, copied)
        return len(copied)

    def flush(self) -> None:
        if _current_output() is None:
            self._process_stream.buffer.flush()

    def close(self) -> None:
        """Do nothing, as the text side."""

    def isatty(self) -> bool:
        return _current_output() is None and self._process_stream.isatty()

    def fileno(self) -> int:
        return self._process_stream.fileno()

    def writable(self) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._process_stream.buffer, name)


def install_job_streams() -> None:
    """Replace sys.stdout and sys.stderr for the life of the process.

    Call it before modules with jobs are imported, and before the logs are configured, so that
    what jobs log with structlog is theirs.
    """
    sys.stdout = JobStream(sys.stdout, STDOUT)
    sys.stderr = JobStream(sys.stderr, STDERR)
    os.register_at_fork(after_in_child=_pass_through)


_forked = False


def _pass_through() -> None:
    """Write to the descriptors in a forked child: the try's output is in its parent's memory."""
    global _forked  # noqa: PLW0603 - a fork concerns the whole process
    _forked = True


def _current_output() -> TryOutput | None:
    return None if _forked else CURRENT_OUTPUT.get()
