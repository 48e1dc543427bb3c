"""The job type sleep."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from spincycle.job.errors import ArgNotSet, JobError, WrongArgType
from spincycle.job.job import Job, Return
from spincycle.model.duration import parse_duration
from spincycle.model.state import State

if TYPE_CHECKING:
    from spincycle.model.job_chain import Value


class Sleep(Job):
    """Waits for `duration`: milliseconds ("1500"), or with a unit ("1.5s")."""

    creates_immediately = True

    def __init__(self) -> None:
        self._nanoseconds = 0
        self._stopped = False
        self._ending: asyncio.Future[State] | None = None

    def create(self, args: dict[str, Value]) -> None:
        """Read `duration`."""
        duration = args.get("duration")
        if duration is None:
            raise ArgNotSet("duration")
        if isinstance(duration, bool) or not isinstance(duration, str | int | float):
            raise WrongArgType("duration", type(duration).__name__, "str")
        text = str(duration)
        try:
            seconds = parse_duration(f"{text}ms" if text[-1:].isdigit() else text)
        except ValueError as error:
            raise JobError(f"duration: {error}") from error
        self._nanoseconds = round(seconds * 1e9)

    def serialize(self) -> bytes:
        """Encode the duration in nanoseconds."""
        return json.dumps({"duration": self._nanoseconds}, separators=(",", ":")).encode()

    def deserialize(self, data: bytes) -> None:
        """Decode the duration."""
        self._nanoseconds = int(json.loads(data)["duration"])

    async def run(self, data: dict[str, Value]) -> Return:  # noqa: ARG002 - uses no job data
        """Wait until the duration has passed or `stop` is called."""
        if self._stopped:
            return Return(State.STOPPED)
        loop = asyncio.get_running_loop()
        self._ending = loop.create_future()
        timer = loop.call_later(self._nanoseconds / 1e9, self._end, State.COMPLETE)
        try:
            return Return(await self._ending)
        finally:
            timer.cancel()

    async def stop(self) -> None:
        """End the wait."""
        self._stopped = True
        self._end(State.STOPPED)

    def status(self) -> str:
        """Return a constant text."""
        return "sleeping"

    def _end(self, state: State) -> None:
        if self._ending is not None and not self._ending.done():
            self._ending.set_result(state)
