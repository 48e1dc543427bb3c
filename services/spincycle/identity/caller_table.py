"""Which services may call which methods of the internal listeners."""

from __future__ import annotations

from collections.abc import Mapping

from spincycle.errors import CallerNotAllowed
from spincycle.identity.service_identity import (
    GATEWAY,
    JOB_LOG,
    JOB_RUNNER,
    REQUEST_MANAGER,
    ServiceIdentity,
)

_COORDINATION = "/spincycle.internal.v1.RunnerCoordinationService/"
_JOURNAL = "/spincycle.internal.v1.JournalService/"
_RUNNER = "/spincycle.internal.v1.JobRunnerService/"
_REQUESTS = "/spincycle.v1.RequestManagerService/"
_SPECS = "/spincycle.v1.SpecService/"
_SERVER = "/spincycle.v1.ServerService/"
_ACCESS = "/spincycle.v1.AccessService/"
_AUDIT = "/spincycle.v1.AuditService/"
_READ_ACCESS = "/spincycle.internal.v1.ReadAccessService/"
_ENTRIES = "/spincycle.v1.JobLogService/"


def _rows(service: str, methods: tuple[str, ...], *callers: str) -> dict[str, frozenset[str]]:
    return {service + method: frozenset(callers) for method in methods}


CALLERS: Mapping[str, frozenset[str]] = {
    # Internal services.
    **_rows(_COORDINATION, ("Register", "Heartbeat", "Report", "UploadSuspended"), JOB_RUNNER),
    # Only the gateway's legacy calls use it; runners end requests by Report.
    **_rows(_COORDINATION, ("Finish",)),
    **_rows(_READ_ACCESS, ("AuthorizeRead",), JOB_LOG),
    **_rows(_JOURNAL, ("Append",), JOB_RUNNER, REQUEST_MANAGER),
    **_rows(_JOURNAL, ("OfferOutput",), JOB_RUNNER),
    **_rows(_JOURNAL, ("Fence",), REQUEST_MANAGER),
    **_rows(
        _RUNNER,
        (
            "RunChains",
            "ResumeChains",
            "UploadChain",
            "StopChains",
            "SuspendChains",
            "ListRunning",
            "ExplainChain",
            "WatchJobs",
            "DescribeChains",
        ),
        REQUEST_MANAGER,
    ),
    # Public services, which the internal listeners serve, too.
    **_rows(
        _REQUESTS,
        (
            "Create",
            "Start",
            "Plan",
            "Get",
            "GetJobChain",
            "StreamJobChain",
            "List",
            "Stop",
            "Suspend",
            "Resume",
            "Rerun",
            "Skip",
            "Explain",
            "ListRunningJobs",
            "Watch",
        ),
        GATEWAY,
    ),
    **_rows(_SPECS, ("ListSpecs", "Lint", "ReloadSpecs"), GATEWAY),
    **_rows(_SERVER, ("GetServerInfo",), GATEWAY),
    **_rows(_ACCESS, ("WhoAmI", "CheckAccess"), GATEWAY),
    **_rows(_AUDIT, ("ListAudit",), GATEWAY),
    **_rows(_ENTRIES, ("GetEntry", "ListEntries", "Tail"), GATEWAY, REQUEST_MANAGER),
}
"""Services that may call a method; other methods are refused."""

LEGACY_CALLERS: Mapping[str, frozenset[str]] = {
    **_rows(_COORDINATION, ("Report", "Finish"), GATEWAY),
    **_rows(_JOURNAL, ("Append",), GATEWAY),
    **_rows(_RUNNER, ("RunChains", "ResumeChains", "StopChains", "ListRunning"), GATEWAY),
}
"""Further rows of a service with `legacy_runner_calls`: calls that the gateway makes for the
original's job runners and request managers."""


LEGACY_READS = frozenset({_REQUESTS + "Get"})
"""Public methods that a gateway calls for itself, without a caller, for the original's runners."""


class CallerTable:
    """Decides which services may call a method.

    Args:
        legacy_runner_calls: whether the rows for the gateway's legacy calls exist.
    """

    def __init__(self, *, legacy_runner_calls: bool = False) -> None:
        self._callers = dict(CALLERS)
        self._without_caller = LEGACY_READS if legacy_runner_calls else frozenset[str]()
        if legacy_runner_calls:
            for method, callers in LEGACY_CALLERS.items():
                self._callers[method] |= callers

    def needs_caller(self, method: str) -> bool:
        """Return whether a gateway may call a public method only for a caller."""
        return method not in self._without_caller

    def check(self, method: str, caller: ServiceIdentity) -> None:
        """Check that a service may call a method, /package.Service/Method.

        Raises:
            CallerNotAllowed: the table has no row for it.
        """
        allowed = self._callers.get(method, frozenset())
        if caller.service not in allowed:
            raise CallerNotAllowed(
                caller=str(caller),
                method=method.removeprefix("/"),
                allowed=", ".join(sorted(allowed)) or "no service",
            )
