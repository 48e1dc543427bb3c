"""The job type that the specs of the recordings use beside the built-in ones."""

from __future__ import annotations

from spincycle.job import Job, JobTypes, Return, State, Value

jobs = JobTypes()


@jobs.register("list")
class ListItems(Job):
    """Makes `items`, a list of `count` names."""

    def create(self, args: dict[str, Value]) -> None:
        """Make them."""
        args["items"] = [f"item{number}" for number in range(int(str(args["count"])))]

    def serialize(self) -> bytes:
        """Nothing."""
        return b""

    def deserialize(self, data: bytes) -> None:
        """Nothing."""

    def run(self, data: dict[str, Value]) -> Return:
        """Nothing is left to do."""
        return Return(State.COMPLETE)
