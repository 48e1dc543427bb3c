"""What a job author writes: a class with create, run and stop."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from spincycle.job.live_output import STDERR, STDOUT, LiveOutput

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from spincycle.model.job_chain import Value
    from spincycle.model.state import State


# Tuples, as one is made for every try, and a frozen dataclass takes three times as long.
class JobId(NamedTuple):
    """Which job an object stands for.

    Attributes:
        type: job type as it was registered.
        name: name of the node in the spec.
        id: 4 characters, unique within the request only.
        request_id: request that the job belongs to.
    """

    type: str
    name: str
    id: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Return:
    """How one try ended.

    Attributes:
        state: COMPLETE, FAIL or STOPPED; STOPPED only after stop was called. Anything
            else counts as FAIL.
        exit: exit code, logged and otherwise unused.
        error: why the try failed, for people.
        stdout: output for the job log; the runner keeps head and tail of a long one.
        stderr: likewise.
        do_not_resume: with FAIL as the answer to a stop, the job has failed and is not
            run again when the request is resumed. Without it the answer counts as STOPPED.
    """

    state: State
    exit: int = 0
    error: str = ""
    stdout: str = ""
    stderr: str = ""
    do_not_resume: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """What a running job last told about itself.

    Attributes:
        text: a few words; empty if the job told none.
        percent: 0 to 100; None if the job reports none.
    """

    text: str = ""
    percent: int | None = None


class Attempt(NamedTuple):
    """Which try of a job is made.

    Attributes:
        number: number of the try; it rises over the whole life of the request.
        key: the same for a try and for the one that takes its place when its runner dies or
            its request is suspended; another one for each retry, be it of the job or of a
            sequence around it. So it names work outside that a later try can find again.
    """

    number: int = 0
    key: str = ""


class Job(ABC):
    """One job of one request.

    The request manager makes an object, calls `create` and `serialize`, and drops it.
    The runner makes another one for each attempt at the job, calls `deserialize`, and then
    `run` once for every try, retries included. Nothing but the serialized bytes passes
    between the two. Before each `run` the runner sets `attempt`.

    `run` may be `async def`, or a plain `def` that blocks: that one is run on a thread.
    `stop` is called on a thread if `run` is plain, and otherwise on the event loop, where
    it must not block.

    Attributes:
        immediate: `run` is a plain `def` that neither waits nor blocks. It is called on the
            event loop, and over before anything could stop it.
        creates_immediately: `create` and `serialize` neither wait nor block, nor compute for
            long. In small requests they are called on the event loop of the request manager,
            and otherwise, as those of other jobs, on a thread.
    """

    immediate: ClassVar[bool] = False
    creates_immediately: ClassVar[bool] = False

    id: JobId
    attempt: Attempt = Attempt()
    progress: Progress = Progress()
    output: LiveOutput | None = None
    _listener: Callable[[Progress], None] | None = None

    def create(self, args: dict[str, Value]) -> Awaitable[None] | None:  # noqa: B027 - optional
        """Read the job arguments; keep what `run` will need; set arguments for later jobs.

        Raises:
            JobError: the arguments will not do. The request is then not created.
        """

    def serialize(self) -> bytes:
        """All that `run` needs, as bytes. Called once, right after `create`."""
        return b""

    def deserialize(self, data: bytes) -> None:  # noqa: B027 - optional
        """Restore what `serialize` gave. Must not block."""

    @abstractmethod
    def run(self, data: dict[str, Value]) -> Awaitable[Return] | Return:
        """Do the work once.

        `data` holds what the job's parents left. It is the job's own copy; what stands in
        it when a try is COMPLETE is handed on to the job's successors.
        """

    def stop(self) -> Awaitable[None] | None:  # noqa: B027 - optional
        """Make `run` return soon. May come before `run` does, and comes at most once."""

    def hand_over(self) -> Awaitable[None] | None:
        """Make `run` return STOPPED soon, and leave what it began to the try that follows.

        Called in place of `stop` when the runner ends, or was given up, and another one goes
        on. A job whose work is done elsewhere, under a name made of `attempt.key`, can leave
        it running.
        """
        return self.stop()

    def status(self) -> str:
        """A few words on what the job is doing. May be called at any time, from any thread."""
        return self.progress.text

    def report(self, text: str = "", percent: float | None = None) -> None:
        """Report the progress of the job to its watchers. May be called from any thread."""
        known = None if percent is None else max(0, min(100, int(percent)))
        self.progress = Progress(text, known)
        if self._listener is not None:
            self._listener(self.progress)

    def prints(self, stdout: bytes | str = b"", stderr: bytes | str = b"") -> None:
        """Show output while it comes; whoever tails the journal sees it. From any thread.

        The end of it is kept while the try runs. For the journal it belongs into Return.
        """
        if self.output is None:
            self.output = LiveOutput()
        for stream, data in ((STDOUT, stdout), (STDERR, stderr)):
            if data:
                raw = data.encode(errors="replace") if isinstance(data, str) else data
                self.output.write(stream, raw)

    def on_report(self, listener: Callable[[Progress], None] | None) -> None:
        """Have `listener` called, on the reporting thread, at each report. For the runner."""
        self._listener = listener
