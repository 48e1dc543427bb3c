"""Jobs of the recorded requests. They leave marks, and hold or fail where their request says.

The recording and the current version run the same classes: what `serialize` returned then is in
the dump, so `deserialize` must keep reading it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json

from tests.upgrade.marks import END, FAIL, START, STOPPED, Mark, gate_is_open, leave_mark

from spincycle.job import Job, JobTypes, Return, State, Value

jobs = JobTypes()

TOKEN_DIGEST = "ba4ca30b8641d08323622efdbd84ca84a40c9c38a61e3d9aa0b51bcbdbf23dd9"
"""SHA-256 of the only token that works."""

LARGE, LARGER = 36028797018963969, 1234567890123456789
"""Whole numbers that a double cannot hold."""

RELEASE = "r42"
"""What every step sets for later ones."""


@jobs.register("step")
class Step(Job):
    """Completes, unless the request says that it holds or fails at this step."""

    def create(self, args: dict[str, Value]) -> None:
        self._kept: dict[str, Value] = {
            name: args.get(name, "")
            for name in ("host", "hold_at", "fail_at", "token", "number", "numbers")
        }
        args["release"] = RELEASE

    def serialize(self) -> bytes:
        return json.dumps(self._kept).encode()

    def deserialize(self, data: bytes) -> None:
        self._kept = json.loads(data)
        self._stop = asyncio.Event()

    async def run(self, data: dict[str, Value]) -> Return:
        self._leave(START)
        if self._fails() or problem(self._kept):
            self._leave(FAIL)
            return Return(
                State.FAIL,
                exit=3,
                error=problem(self._kept) or f"{self._step} failed on purpose",
                stdout=f"{self._step} began\n",
                stderr=f"{self._step} does not work: try {self.attempt.number}\n",
            )
        if self._is_in("hold_at") and not gate_is_open():
            self.report(f"{self._step} holds", 50)
            await self._stop.wait()
            self._leave(STOPPED)
            return Return(State.STOPPED)
        data[self._step] = {"try": self.attempt.number, "notes": [None, True, 1.5, "größer"]}
        self._leave(END)
        return Return(State.COMPLETE, stdout=f"{self._step} done\n", stderr="no warnings\n")

    async def stop(self) -> None:
        self._stop.set()

    def _fails(self) -> bool:
        return self._is_in("fail_at") and not gate_is_open()

    @property
    def _step(self) -> str:
        host = self._kept["host"]
        return f"{self.id.name}:{host}" if host else self.id.name

    def _is_in(self, name: str) -> bool:
        return self._step in str(self._kept[name]).split(",")

    def _leave(self, event: str) -> None:
        leave_mark(Mark(event, self.id.request_id, self._step, self.attempt.number))


@jobs.register("step-flaky")
class FlakyStep(Step):
    """Fails in its first try."""

    def _fails(self) -> bool:
        return self.attempt.number == 1 or super()._fails()


@jobs.register("step-once", interruption="fail")
class OnceStep(Step):
    """A step that must not run a second time if its runner dies."""


def problem(kept: dict[str, Value]) -> str:
    """Return what is wrong with the values that the step needs; empty if nothing is."""
    token, number = kept["token"], kept["number"]
    if token and hashlib.sha256(str(token).encode()).hexdigest() != TOKEN_DIGEST:
        return "the token is not the one that the request was created with"
    if number and (number, kept["numbers"]) != (float(LARGER), float_numbers()):
        return f"unexpected numbers: {number} and {kept['numbers']}"
    return ""


def float_numbers() -> Value:
    """The numbers as a gRPC call carries them: each one a double."""
    return [float(LARGE), {"limit": float(LARGER)}]
