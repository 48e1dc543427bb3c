"""How work with a cluster fails."""

from __future__ import annotations

from spincycle.job.errors import JobError


class ApiUnavailable(Exception):
    """The API server did not answer, or asked to be called again later.

    Attributes:
        pause: seconds that it asked for.
    """

    def __init__(self, cause: str, pause: float = 0.0) -> None:
        self.pause = pause
        super().__init__(cause)


class ApiRefused(Exception):
    """The API server said no."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        self.status = status
        self.reason = reason
        super().__init__(message)


class TakenOver(Exception):
    """A later try has the Kubernetes Job by now."""

    def __init__(self, name: str, number: int) -> None:
        super().__init__(f"try {number} has taken the Kubernetes Job {name} over")


class ExtraNotInstalled(JobError):
    """What talks to Kubernetes is not installed where the job runs."""

    def __init__(self, module: str) -> None:
        super().__init__(
            f"this runner cannot run kubernetes/job: the Python module {module} is missing;"
            " install Spin Cycle on it with its extra: pip install 'spincycle[kubernetes]'"
        )


class NoCluster(JobError):
    """The runner does not know a cluster."""

    def __init__(self, cause: str) -> None:
        super().__init__(
            f"this runner knows no Kubernetes cluster: {cause}; run it in one under a service"
            " account, or name a kubeconfig file in KUBECONFIG"
        )


def in_words(refused: ApiRefused, doing: str) -> str:
    """What was refused, why, and what to do."""
    if refused.status == 401:
        return f"cannot {doing}: the API server does not take the runner's credentials: {refused}"
    if refused.status == 403:
        return (
            f"cannot {doing}: {refused}; if that is about the runner's rights, bind its service"
            " account to the role in docs/how-to/kubernetes-job.md"
        )
    return f"cannot {doing}: {refused}"
