"""The container that the job arguments describe."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields

DEFAULT_TTL = 3600
DEFAULT_START_TIMEOUT = 600
DEFAULT_GRACE = 5


@dataclass(frozen=True, slots=True)
class Container:
    """One container and its settings.

    Attributes:
        command: replaces the image's entry point; empty: the image's own.
        args: arguments of the command.
        env: environment variables; a value is a string or a reference to a Secret or ConfigMap.
        namespace: empty: the runner's default.
        service_account: empty: none, and no token in the container.
        cpu: requested CPU, a Kubernetes quantity; empty: none.
        memory: requested memory and memory limit, a Kubernetes quantity; empty: none.
        timeout: maximum seconds from the start of the Kubernetes Job to its end; 0: no limit.
        start_timeout: maximum seconds until the container runs.
        grace: seconds that the container has to end when it is stopped.
        ttl: seconds for which the cluster keeps the ended Kubernetes Job.
        restricted: whether to comply with the pod security standard "restricted".
    """

    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: dict[str, str | dict[str, dict[str, str]]] = field(default_factory=dict)
    namespace: str = ""
    service_account: str = ""
    cpu: str = ""
    memory: str = ""
    timeout: int = 0
    start_timeout: int = DEFAULT_START_TIMEOUT
    grace: int = DEFAULT_GRACE
    node_selector: dict[str, str] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    ttl: int = DEFAULT_TTL
    restricted: bool = False

    def to_bytes(self) -> bytes:
        """Encode the container for the job chain."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Container:
        """Decode the result of `to_bytes`, also of an older version."""
        known = {known.name for known in fields(cls)}
        values = {name: value for name, value in json.loads(data).items() if name in known}
        values["command"] = tuple(values.get("command", ()))
        values["args"] = tuple(values.get("args", ()))
        return cls(**values)
