"""What can be wrong with a job, its type, its arguments or its data."""

from __future__ import annotations


class JobError(Exception):
    """A job cannot be created or run; subclass it to refuse arguments in `create`."""


class UnknownJobType(JobError):
    """No job factory knows this type."""

    def __init__(self, type: str = "") -> None:  # noqa: A002 - the proto's field name
        self.type = type
        super().__init__(f'unknown job type "{type}"' if type else "unknown job type")


class DuplicateJobType(JobError):
    """Two job factories that are used together know the same type."""

    def __init__(self, type: str) -> None:  # noqa: A002 - the proto's field name
        self.type = type
        super().__init__(f'job type "{type}" is registered twice')


class JobsNotLoaded(JobError):
    """A job factory that was asked for cannot be imported."""

    def __init__(self, source: str, cause: str) -> None:
        self.source = source
        self.cause = cause
        super().__init__(f"cannot load jobs from {source}: {cause}")


class WrongJobId(JobError):
    """A factory made a job under another id than it was asked to."""

    def __init__(self) -> None:
        super().__init__("wrong job.Id")


class RunTimeout(JobError):
    """For a job to raise when what it waits for does not happen in time."""

    def __init__(self) -> None:
        super().__init__("run timeout")


class ArgNotSet(JobError):
    """A job argument is missing."""

    def __init__(self, arg: str) -> None:
        self.arg = arg
        super().__init__(f"{arg} not set in job args")


class WrongArgType(JobError):
    """A job argument has a value of the wrong type."""

    def __init__(self, key: str, got: str, expect: str) -> None:
        self.key = key
        self.got = got
        self.expect = expect
        super().__init__(f"{key} in job args is type {got}, expected type {expect}")


class DataNotSet(JobError):
    """The job's parents did not leave a value that it needs."""

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"{key} not set in job data")


class WrongDataType(JobError):
    """The job's parents left a value of the wrong type."""

    def __init__(self, key: str, got: str, expect: str) -> None:
        self.key = key
        self.got = got
        self.expect = expect
        super().__init__(f"{key} in job data is type {got}, expected type {expect}")
