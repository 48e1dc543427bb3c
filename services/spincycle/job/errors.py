"""Errors of job types, job arguments and job data."""

from __future__ import annotations


class JobError(Exception):
    """A job cannot be created or run.

    Raise it, or a subclass, in `Job.create` to reject arguments: the request is then not created,
    and its caller receives the message. Raised in `Job.run` it fails the try with the message as
    its error, without a traceback:

        if free < needed:
            raise JobError(f"disk full: {free} bytes free, {needed} needed")
    """


class UnknownJobType(JobError):
    """The job type is not registered."""

    def __init__(self, type: str = "") -> None:  # noqa: A002 - the proto's field name
        self.type = type
        super().__init__(f'unknown job type "{type}"' if type else "unknown job type")


class DuplicateJobType(JobError):
    """A job type is registered twice."""

    def __init__(self, type: str) -> None:  # noqa: A002 - the proto's field name
        self.type = type
        super().__init__(f'job type "{type}" is registered twice')


class JobsNotLoaded(JobError):
    """A source of job types cannot be loaded.

    Attributes:
        source: the entry point or the name that cannot be loaded.
        cause: why.
    """

    def __init__(self, source: str, cause: str) -> None:
        self.source = source
        self.cause = cause
        super().__init__(f"cannot load jobs from {source}: {cause}")


class WrongJobId(JobError):
    """A factory did not set the job's id to the id that it was called with."""

    def __init__(self) -> None:
        super().__init__("wrong job.Id")


class LauncherLost(JobError):
    """The launcher ended while a job waited for a program; what it started was killed.

    Attributes:
        program: the program.
    """

    def __init__(self, program: str) -> None:
        self.program = program
        super().__init__(
            f"the launcher of the job runner ended before {program} did; {program} was killed"
        )


class RunTimeout(JobError):
    """What a job waits for did not happen in time; for job authors to raise in `Job.run`."""

    def __init__(self) -> None:
        super().__init__("run timeout")


class ArgNotSet(JobError):
    """A required job argument is missing; raise it in `Job.create`."""

    def __init__(self, arg: str) -> None:
        self.arg = arg
        super().__init__(f"{arg} not set in job args")


class WrongArgType(JobError):
    """A job argument has a value of the wrong type; raise it in `Job.create`.

    Attributes:
        key: name of the argument.
        got: name of the value's type.
        expect: name of the expected type.
    """

    def __init__(self, key: str, got: str, expect: str) -> None:
        self.key = key
        self.got = got
        self.expect = expect
        super().__init__(f"{key} in job args is type {got}, expected type {expect}")


class DataNotSet(JobError):
    """A required value is missing in the job data; raise it in `Job.run`."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"{key} not set in job data")


class WrongDataType(JobError):
    """A value in the job data has the wrong type; raise it in `Job.run`.

    Attributes:
        key: name of the value.
        got: name of the value's type.
        expect: name of the expected type.
    """

    def __init__(self, key: str, got: str, expect: str) -> None:
        self.key = key
        self.got = got
        self.expect = expect
        super().__init__(f"{key} in job data is type {got}, expected type {expect}")
