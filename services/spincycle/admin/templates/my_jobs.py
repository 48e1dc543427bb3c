"""The job types of this project."""

import json

from spincycle.job import ArgNotSet, Job, JobError, JobTypes, Return, State, Value, WrongArgType

MAX_NAME = 20
"""Characters of the longest name that can be greeted."""

jobs = JobTypes()


@jobs.register("greet")
class Greet(Job):
    """Greets one person."""

    def __init__(self) -> None:
        self.name = ""
        self.words = ""

    def create(self, args: dict[str, Value]) -> None:
        """Check the arguments. The request manager calls this when a request is created.

        Raises:
            JobError: an argument is missing or invalid; the request is not created.
        """
        self.name = _text(args, "name")
        self.words = _text(args, "words")
        if len(self.name) > MAX_NAME:
            raise JobError(f'name "{self.name}" is longer than {MAX_NAME} characters: shorten it')

    def serialize(self) -> bytes:
        """Return what `run` needs; it is stored with the request."""
        return json.dumps([self.name, self.words]).encode()

    def deserialize(self, data: bytes) -> None:
        """Restore what `serialize` returned. The job runner calls this before `run`."""
        self.name, self.words = json.loads(data)

    def run(self, data: dict[str, Value]) -> Return:
        """Run one try. An earlier try may have done all of the work, or a part of it."""
        return Return(State.COMPLETE, stdout=f"{self.words}, {self.name}")


def _text(args: dict[str, Value], name: str) -> str:
    if name not in args:
        raise ArgNotSet(name)
    value = args[name]
    if not isinstance(value, str):
        raise WrongArgType(name, type(value).__name__, "str")
    return value
