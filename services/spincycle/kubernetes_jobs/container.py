"""What is to be run, as the job arguments say it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields

DEFAULT_TTL = 3600
DEFAULT_START_TIMEOUT = 600
DEFAULT_GRACE = 5


@dataclass(frozen=True, slots=True)
class Container:
    """One container and how it is to be run.

    Attributes:
        command: replaces the image's entry point; empty: the image's own.
        args: follow the command.
        env: environment variables; a value is a text, or where a Secret or ConfigMap has it.
        namespace: empty: the runner's default.
        service_account: empty: none, and no token in the container.
        cpu: Kubernetes quantity that is requested; empty: none.
        memory: Kubernetes quantity that is requested and the limit; empty: none.
        timeout: most seconds from the start of the Kubernetes Job to its end; 0: no limit.
        start_timeout: most seconds until the container runs.
        grace: seconds that the container has to end when it is stopped.
        ttl: seconds that the cluster keeps the ended Kubernetes Job.
        restricted: run under what the pod security standard "restricted" asks for.
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
        """All of it, as bytes for the job chain."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, data: bytes) -> Container:
        """What `to_bytes` gave, by an older version too."""
        known = {known.name for known in fields(cls)}
        said = {name: value for name, value in json.loads(data).items() if name in known}
        said["command"] = tuple(said.get("command", ()))
        said["args"] = tuple(said.get("args", ()))
        return cls(**said)
