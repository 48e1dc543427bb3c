"""The recorded database and what is expected of each of its requests."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SPECS = HERE / "specs"
JOBS = "tests.upgrade.jobs:jobs"

DUMP = HERE / "recorded" / "spincycle.dump"
"""What `pg_dump --format=custom` wrote."""

EXPECTATIONS = HERE / "recorded" / "expectations.json"

LIVE = ("PENDING", "RUNNING", "SUSPENDED")
"""States of requests that have not ended."""


@dataclass(frozen=True, slots=True)
class Expected:
    """One recorded request.

    Attributes:
        state: state in the dump, for example "SUSPENDED".
        final: state in which it ends under the current version.
        ran: steps that completed before the dump was made, and must not run again.
        left: steps that must complete after the upgrade, as often as they stand here.
        tries: by step, the highest try that began before the dump was made.
        reason: the start of its reason; empty if it had not ended.
        large: whether its arguments hold numbers that a double cannot hold.
        secret: whether it was created with the token.
        journal: entries in the dump, by position: job id, name, state, exit, error, stdout, stderr.
        rest: REST payloads of a request that had ended, by path below the request.
    """

    request_id: str
    type: str
    state: str
    final: str
    ran: list[str]
    left: list[str]
    tries: dict[str, int] = field(default_factory=dict)
    reason: str = ""
    rerun_of: str = ""
    priority: int = 0
    idempotency_key: str = ""
    large: bool = False
    secret: bool = False
    journal: list[list[Any]] = field(default_factory=list)
    rest: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Recording:
    """Everything that is known of the recorded database.

    Attributes:
        commit: the version that made it.
        requests: by the name that the recorder gave each.
        cursor: of a stream of all requests of type "deploy", before the last ones were created.
        named_cursor: of a stream of the request "suspended".
        next_transaction: number of the database's next transaction when it was dumped.
        token: the secret argument.
    """

    commit: str
    requests: dict[str, Expected]
    cursor: str
    named_cursor: str
    next_transaction: int
    token: str

    def write(self) -> None:
        """Store the recording beside the dump."""
        EXPECTATIONS.write_text(json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n")

    @property
    def live(self) -> dict[str, Expected]:
        """Requests that had not ended."""
        return {
            name: expected for name, expected in self.requests.items() if expected.state in LIVE
        }

    @property
    def ended(self) -> dict[str, Expected]:
        """Requests that had ended."""
        return {name: self.requests[name] for name in self.requests.keys() - self.live.keys()}


def read_recording() -> Recording:
    """Return the recording that is committed."""
    content = json.loads(EXPECTATIONS.read_text())
    requests = {name: Expected(**fields) for name, fields in content.pop("requests").items()}
    return Recording(requests=requests, **content)
