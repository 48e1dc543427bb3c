"""The base class of jobs, and the values that it exchanges with the runner."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from spincycle.job.current_job import CURRENT_JOB, CURRENT_OUTPUT
from spincycle.job.try_output import STDERR, STDOUT, TryOutput

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from spincycle.model.job_chain import Value
    from spincycle.model.state import State


# JobId and Attempt are tuples: creating a frozen dataclass per try takes three times as long.
class JobId(NamedTuple):
    """Identifies a job.

    Attributes:
        type: registered job type.
        name: name of the node in the spec.
        id: 4 characters; unique only within the request.
        request_id: id of the request that the job belongs to, 20 characters.
        path: where the job stands in the plan, such as "upgrade h05 / verify", for texts; empty in
            a request that was created before jobs had paths.
    """

    type: str
    name: str
    id: str
    request_id: str
    path: str = ""

    @property
    def display_name(self) -> str:
        """Path of the job; the name of its node if it has no path."""
        return self.path or self.name


@dataclass(frozen=True, slots=True)
class Return:
    """Result of one try.

        return Return(State.FAIL, exit=3, error="disk full", stdout=output)

    Attributes:
        state: COMPLETE, FAIL, or STOPPED if `Job.stop` was called. Any other state counts as
            FAIL.
        exit: exit code, a signed 64-bit integer; it is stored in the job log and not evaluated.
        error: readable reason of a failure; at most 16 KiB are stored.
        stdout: output for the job log; of more than 256 KiB the head and the tail are stored. If
            empty, what the try printed is stored; see `Job.prints`.
        stderr: same as `stdout`.
        do_not_resume: whether FAIL after `Job.stop` is final: the job does not run again when the
            request is resumed. Otherwise FAIL after `Job.stop` counts as STOPPED.
    """

    state: State
    exit: int = 0
    error: str = ""
    stdout: str = ""
    stderr: str = ""
    do_not_resume: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """Last progress report of a running job.

    Attributes:
        text: short status text; empty if the job reported none.
        percent: 0 to 100; None if the job reported none.
    """

    text: str = ""
    percent: int | None = None


class Attempt(NamedTuple):
    """Identifies a try of a job.

    Attributes:
        number: try number, starting at 1; it rises over the whole life of the request.
        key: equal for a try and for the try that replaces it after its runner was lost or its
            request was suspended; different for each retry of the job or of a sequence around
            it. Use it, with the request id and the job id, to name external work that a replacing
            try must find again.
    """

    number: int = 0
    key: str = ""


class Job(ABC):
    """Base class of jobs; a subclass must define `run`.

        @jobs.register("copy-file")
        class CopyFile(Job):
            def create(self, args):
                if "from" not in args:
                    raise ArgNotSet("from")
                self.path = args["from"]

            def serialize(self):
                return self.path.encode()

            def deserialize(self, data):
                self.path = data.decode()

            def run(self, data):
                data["copy"] = shutil.copy(self.path, "/backup")
                return Return(State.COMPLETE)

    When a request is created, the request manager creates an object, calls `create` and
    `serialize`, and discards it. When the job runs, the runner creates another object, calls
    `deserialize`, and then `run` once per try; it may reuse the object for retries. Only the
    serialized bytes pass from the first object to the second.

    `run` is `async def`, or `def` if it blocks: then it is called on a thread. `stop` is called on
    a thread if `run` is `def`, otherwise on the event loop, which it must not block. A try that
    blocks the loop beyond its timeout fails, whatever it returns.

    Attributes:
        immediate: whether `run` is a `def` that does not block. It is then called on the event
            loop and cannot be stopped.
        creates_immediately: whether `create` and `serialize` are `def`, do not block and compute
            only briefly. The request manager then calls them on its event loop for small
            requests; otherwise it calls them on a thread.
        id: set by the factory.
        attempt: set by the runner before each `run`.
        progress: the last report; see `report`.
        output: what the running try has printed; see `prints`. None before its first `prints` if
            no runner runs the job.
    """

    immediate: ClassVar[bool] = False
    creates_immediately: ClassVar[bool] = False

    id: JobId
    attempt: Attempt = Attempt()
    progress: Progress = Progress()
    output: TryOutput | None = None
    _listener: Callable[[Progress], None] | None = None

    def create(self, args: dict[str, Value]) -> Awaitable[None] | None:  # noqa: B027 - optional
        """Validate the job arguments and keep what `run` needs.

        `args` has the arguments by name. Values that `create` adds to it are available to the nodes
        that follow if the job's node lists them in `sets`.

        Raises:
            JobError: an argument is missing or invalid; the request is then not created.
        """

    def serialize(self) -> bytes:
        """Return everything that `run` needs as bytes; called once, after `create`."""
        return b""

    def deserialize(self, data: bytes) -> None:  # noqa: B027 - optional
        """Restore the object from the result of `serialize`; must not block."""

    @abstractmethod
    def run(self, data: dict[str, Value]) -> Awaitable[Return] | Return:
        """Run one try and return its result.

        `data` is a copy of the data that the job's parents left, by name. Changes to it are
        passed to the job's children if the try is COMPLETE; the values must be valid JSON, at most
        256 KiB in total. Any exception fails the try.

        The values of secret arguments of the request are replaced by a mark in everything that the
        job passes out, also in `data`: the job's children receive the mark. Pass a secret to them
        by an argument.
        """

    def stop(self) -> Awaitable[None] | None:  # noqa: B027 - optional
        """Make `run` return soon; called at most once, possibly before `run`.

        If `run` does not return within the runner's `stop_limit` (10 s by default), it is cancelled
        if it is `async def`, and abandoned otherwise.
        """

    def hand_over(self) -> Awaitable[None] | None:
        """Make `run` return STOPPED soon without stopping external work that it started.

        Called instead of `stop` when another runner resumes the request at once. A job that started
        external work under a name derived from `attempt.key` can leave it running for the next try
        to find. By default it calls `stop`.
        """
        return self.stop()

    def status(self) -> str:
        """Return a short status text; called at any time, from any thread."""
        return self.progress.text

    def report(self, text: str = "", percent: float | None = None) -> None:
        """Report progress to clients that watch the request; may be called from any thread.

        `text` is a short status text, `percent` is from 0 to 100; None if it is not known.
        """
        clamped = None if percent is None else max(0, min(100, int(percent)))
        self.progress = Progress(text, clamped)
        if self._listener is not None:
            self._listener(self.progress)

    def prints(self, stdout: bytes | str = b"", stderr: bytes | str = b"") -> None:
        """Print output of the try; may be called from any thread.

        Clients that tail the job log receive it while the try runs; a client that falls more than
        64 KiB of a stream behind misses some. A stream that `Return` leaves empty is stored in the
        job log as it was printed, however the try ends; of more than 256 KiB the head and the tail.

        `print`, `sys.stdout`, `sys.stderr`, `warnings` and `logging` from INFO on do the same where
        the job is known: in `run` and `stop`, the tasks that they create, and `asyncio.to_thread`.
        """
        for stream, data in ((STDOUT, stdout), (STDERR, stderr)):
            if data:
                raw = data.encode(errors="replace") if isinstance(data, str) else data
                self._print(stream, raw)

    def _print(self, stream: int, data: bytes) -> None:
        current = CURRENT_OUTPUT.get()
        if current is not None:
            current.write(stream, data)
            if CURRENT_JOB.get() is self:
                return
        # A thread of the job's own, a call without a runner, or a job that another one runs.
        if self.output is None:
            self.output = TryOutput()
        self.output.write(stream, data)

    def on_report(self, listener: Callable[[Progress], None] | None) -> None:
        """Call `listener` at each report, on the reporting thread; for the runner only."""
        self._listener = listener
