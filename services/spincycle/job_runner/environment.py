"""The environment of jobs: few variables of the runner's, and those that the operator adds.

Jobs run in the runner's process, and what they start inherits its environment, so that the process
itself must not have the variables that hold its configuration, credentials and tokens.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

from spincycle.runtime.config import ConfigError

ALLOWED = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "TZ",
    "TMPDIR",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    # The job type kubernetes/job runs in this process and reads them.
    "KUBECONFIG",
    "KUBERNETES_SERVICE_HOST",
    "KUBERNETES_SERVICE_PORT",
    "SPINCYCLE_KUBERNETES_CONTEXT",
    "SPINCYCLE_KUBERNETES_NAMESPACE",
    # It marks what jobs leave behind, which spincycle dev ends.
    "SPINCYCLE_DEV_HOME",
)
"""Variables that jobs always get, as patterns with *."""


def confined(environment: Mapping[str, str], additions: Iterable[str] = ()) -> dict[str, str]:
    """Return the environment of jobs.

    Args:
        environment: that of the runner.
        additions: `NAME=value` sets a variable; `NAME`, or a pattern with *, passes the variables
            that `environment` has.

    Raises:
        ConfigError: an addition is neither.
    """
    additions = list(additions)
    for each in additions:
        if not each or each.startswith("=") or "\0" in each:
            raise ConfigError(f"jobs_environment: {each!r} is neither NAME nor NAME=value")
    passed = [*ALLOWED, *(each for each in additions if "=" not in each)]
    kept = {
        name: value
        for name, value in environment.items()
        if any(fnmatchcase(name, pattern) for pattern in passed)
    }
    return kept | dict(each.split("=", 1) for each in additions if "=" in each)


def confine(additions: Iterable[str] = ()) -> None:
    """Give this process the environment of jobs; `additions` as of `confined`.

    Raises:
        ConfigError: as `confined`.

    Libraries in C that read variables later than when they are loaded no longer find those that
    are removed. gRPC has read its own when it was imported.
    """
    environment = confined(os.environ, additions)
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
