"""Errors of Kubernetes jobs."""

from __future__ import annotations

from spincycle.job.errors import JobError


class ApiUnavailable(Exception):
    """The API server did not respond, or asked to retry later.

    Attributes:
        retry_after: seconds after which it asked to retry; 0 if it did not.
    """

    def __init__(self, cause: str, retry_after: float = 0.0) -> None:
        self.retry_after = retry_after
        super().__init__(cause)


class ApiRefused(Exception):
    """The API server rejected a call.

    Attributes:
        status: HTTP status code.
        reason: Kubernetes' reason, such as AlreadyExists.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        self.status = status
        self.reason = reason
        super().__init__(message)


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


def describe_refusal(refused: ApiRefused, action: str) -> str:
    """Return an error message: what was rejected, why, and what to do."""
    if refused.status == 401:
        return f"cannot {action}: the API server rejects the runner's credentials: {refused}"
    if refused.status == 403:
        return (
            f"cannot {action}: {refused}; if the runner lacks permissions, bind its service"
            " account to the role in docs/how-to/kubernetes-job.md"
        )
    return f"cannot {action}: {refused}"
