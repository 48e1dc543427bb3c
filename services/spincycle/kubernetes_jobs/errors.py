"""Errors of Kubernetes jobs."""

from __future__ import annotations

from spincycle.job.errors import JobError
from spincycle.model.duration import format_duration


class ApiUnavailable(Exception):
    """The API server did not respond, or asked to retry later.

    Attributes:
        retry_after: seconds after which it asked to retry; 0 if it did not.
    """

    def __init__(self, cause: str, retry_after: float = 0.0) -> None:
        self.retry_after = retry_after
        super().__init__(cause)

    def status_text(self) -> str:
        """Return the status text of a try that retries the call."""
        return f"the API server is unavailable: {self}; retrying"


class ApiRefused(Exception):
    """The API server rejected a call.

    Attributes:
        status: HTTP status code.
        reason: Kubernetes' reason, such as AlreadyExists.
        causes: reasons of the causes, such as NamespaceTerminating.
        retried_for: seconds for which the call was retried; 0: it was not.
    """

    def __init__(
        self, status: int, reason: str, message: str, causes: frozenset[str] = frozenset()
    ) -> None:
        self.status = status
        self.reason = reason
        self.causes = causes
        self.retried_for = 0.0
        super().__init__(message)


class ApiRefusing(ApiUnavailable):
    """The API server rejects the runner's credentials or permissions, perhaps for a moment.

    Attributes:
        timeout: seconds after the first refusal at which a further one is final.
    """

    def __init__(self, refused: ApiRefused, timeout: float) -> None:
        self.timeout = timeout
        super().__init__(str(refused))

    def status_text(self) -> str:
        """Return the status text of a try that retries the call."""
        return f"the API server refuses: {self}; retried for {format_duration(self.timeout)}"


class NotStarted(Exception):
    """The Kubernetes Job could not be created within the start timeout."""


class TakenOver(Exception):
    """A later try owns the Kubernetes Job."""

    def __init__(self, name: str, number: int) -> None:
        super().__init__(f"try {number} has taken over the Kubernetes Job {name}")


class ExtraNotInstalled(JobError):
    """The extra `kubernetes` is not installed on the runner."""

    def __init__(self, module: str) -> None:
        super().__init__(
            f"this runner cannot run kubernetes/job: the Python module {module} is missing;"
            " install Spin Cycle on it with its extra: pip install 'spincycle[kubernetes]'"
        )


class NoCluster(JobError):
    """No cluster is configured on the runner."""

    def __init__(self, cause: str) -> None:
        super().__init__(
            f"no Kubernetes cluster is configured on this runner: {cause}; run it in a cluster"
            " under a service account, or set KUBECONFIG to a kubeconfig file"
        )
