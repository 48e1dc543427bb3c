"""The catalogue of errors that services return to callers.

Each class is one entry: its docstring is the message template, with the fields in braces, and its
fields become ErrorInfo metadata on gRPC, keys of the log line, and parts of the REST body.
docs/reference/errors.md is generated from these classes.
"""

from __future__ import annotations

from spincycle.errors.access import (
    AccessDenied,
    AuthenticationUnavailable,
    NotAuthenticated,
    TooManyCreations,
    TooManyOpenRequests,
    TooManyStreams,
)
from spincycle.errors.base import (
    FieldViolation,
    SpinCycleError,
)
from spincycle.errors.callers import HostNotAllowed, JsonRequired, OriginNotAllowed
from spincycle.errors.identities import CallerNotAllowed, NotIdentified, NotYours
from spincycle.errors.requests import (
    ChainNotBuilt,
    CreateStuck,
    IdempotencyConflict,
    InvalidArgs,
    InvalidInput,
    InvalidState,
    JobNotFound,
    LintBusy,
    LintTooExpensive,
    PlanChanged,
    PlanTooLarge,
    RequestNotFound,
    RequestUnreadable,
    RerunNotEnded,
    SecretsNotSealed,
    UnknownRequestType,
)
from spincycle.errors.runners import (
    ChainTooLarge,
    EntryConflict,
    FeatureNotSupported,
    FenceTooHigh,
    InvalidChain,
    InvalidEntry,
    JournalBehind,
    RunnerDraining,
    RunnerFull,
    RunnerUnknown,
    RunnerUnreachable,
    StaleEpoch,
    WrongRunner,
)
from spincycle.errors.services import (
    CursorTooOld,
    DatabaseUnavailable,
    DeadlineExceeded,
    Internal,
    InvalidPageToken,
    MessageTooLarge,
    OutOfMemory,
    Overloaded,
    RemoteError,
    ServiceUnavailable,
    ShuttingDown,
    UnknownMethod,
    UnreadableMessage,
    WatcherTooSlow,
)

__all__ = [
    "AccessDenied",
    "AuthenticationUnavailable",
    "CallerNotAllowed",
    "ChainNotBuilt",
    "ChainTooLarge",
    "CreateStuck",
    "CursorTooOld",
    "DatabaseUnavailable",
    "DeadlineExceeded",
    "EntryConflict",
    "FeatureNotSupported",
    "FenceTooHigh",
    "FieldViolation",
    "HostNotAllowed",
    "IdempotencyConflict",
    "Internal",
    "InvalidArgs",
    "InvalidChain",
    "InvalidEntry",
    "InvalidInput",
    "InvalidPageToken",
    "InvalidState",
    "JobNotFound",
    "JournalBehind",
    "JsonRequired",
    "LintBusy",
    "LintTooExpensive",
    "MessageTooLarge",
    "NotAuthenticated",
    "NotIdentified",
    "NotYours",
    "OriginNotAllowed",
    "OutOfMemory",
    "Overloaded",
    "PlanChanged",
    "PlanTooLarge",
    "RemoteError",
    "RequestNotFound",
    "RequestUnreadable",
    "RerunNotEnded",
    "RunnerDraining",
    "RunnerFull",
    "RunnerUnknown",
    "RunnerUnreachable",
    "SecretsNotSealed",
    "ServiceUnavailable",
    "ShuttingDown",
    "SpinCycleError",
    "StaleEpoch",
    "TooManyCreations",
    "TooManyOpenRequests",
    "TooManyStreams",
    "UnknownMethod",
    "UnknownRequestType",
    "UnreadableMessage",
    "WatcherTooSlow",
    "WrongRunner",
    "catalogue",
]


def catalogue() -> dict[str, type[SpinCycleError]]:
    """Return every entry by its reason, in order of definition."""
    return {entry.reason: entry for entry in SpinCycleError.__subclasses__()}
