"""Requests in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from spincycle.database.database import Database
from spincycle.model.redaction import redacted_args
from spincycle.model.state import LIVE, State
from spincycle.request_manager.storage.model import (
    NewRequest,
    PagePosition,
    Request,
    RequestFilter,
    Rerun,
)
from spincycle.request_manager.storage.portions import in_portions
from spincycle.request_manager.storage.request_counts import RequestCounts
from spincycle.request_manager.storage.request_row import request_of
from spincycle.request_manager.storage.row_values import interval, json_text
from spincycle.request_manager.storage.secret_columns import SecretColumns

FAR_FUTURE = datetime(9999, 1, 1, tzinfo=UTC)
"""Later than the creation of any request."""


class RequestStore:
    """Creates, reads and lists requests.

    Every method raises DatabaseUnavailable while the database is away.
    """

    def __init__(self, database: Database, counts: RequestCounts, columns: SecretColumns) -> None:
        self._database = database
        self._counts = counts
        self._columns = columns

    @property
    def accepts_secrets(self) -> bool:
        """Whether requests with secrets may be stored."""
        return self._columns.accepts_secrets

    async def create(
        self, requests: Sequence[NewRequest], runners: Mapping[str, str], lease: float
    ) -> set[str]:
        """Store requests with their archives; return the ids of the new ones.

        A request with a runner in `runners` is assigned to it under the first epoch; the runner
        has `lease` seconds to accept it. A request is not new if its idempotency key is already
        stored, or if its user has as many requests that have not ended as the request allows. All
        are stored in one transaction, unless their chains are too large for one.
        """
        new: set[str] = set()
        for portion in in_portions(requests, lambda request: len(request.job_chain)):
            new |= await self._create(portion, runners, lease)
        return new

    async def _create(
        self, requests: Sequence[NewRequest], runners: Mapping[str, str], lease: float
    ) -> set[str]:
        secret = {
            request.request_id: await self._secret_values(request)
            for request in requests
            if request.has_secrets
        }
        rows = await self._database.fetch_each(
            "create_request",
            [
                {
                    "request_id": request.request_id,
                    "type": request.type,
                    "user": request.actor.user,
                    "created_at": request.created_at,
                    "total_jobs": request.total_jobs,
                    "priority": request.priority,
                    "spec_revision": request.spec_revision,
                    "plan_hash": request.plan_hash,
                    "given_args": json_text(request.given_args),
                    "idempotency_key": request.idempotency_key or None,
                    "content_hash": request.content_hash,
                    "create_request": json_text(request.create_request),
                    "args": json_text(request.args),
                    "job_chain": request.job_chain,
                    "sealed_under": None,
                    "max_running": request.max_running,
                    "open_limit": request.open_limit,
                    "required_features": list(request.requirements.features),
                    "job_types": sorted(request.requirements.job_types),
                    "runner_id": runners.get(request.request_id),
                    "lease": interval(lease),
                    "approved_plan_hash": request.approved_plan_hash,
                    "on_behalf_of": request.actor.on_behalf_of,
                    **request.actor.columns,
                    **secret.get(request.request_id, {}),
                }
                for request in requests
            ],
        )
        self._counts.created += len(rows)
        return {row["request_id"] for row in rows}

    async def _secret_values(self, request: NewRequest) -> dict[str, object]:
        """Return those parameters of create_request in which secrets are redacted or sealed."""
        chain = await self._columns.seal_chain(request.request_id, request.job_chain)
        return {
            "content_hash": self._columns.seal_hash(request.request_id, request.content_hash),
            "args": json_text(redacted_args(request.args)),
            "job_chain": chain.data,
            "sealed_under": chain.sealed_under,
        }

    async def create_rerun(self, rerun: Rerun) -> bool:
        """Store a rerun of another request, in one transaction; return whether it was stored.

        It is not if its idempotency key is already stored, the other request no longer is, or
        `find_live_rerun` of the other request returns one and `allow_concurrent` is False.
        """
        values = asdict(rerun)
        del values["actor"], values["has_secrets"]
        values |= await self._chains(rerun)
        values |= rerun.actor.columns
        values["on_behalf_of"] = rerun.actor.on_behalf_of
        values["user"] = rerun.actor.user
        values["idempotency_key"] = rerun.idempotency_key or None
        values["job_types"] = sorted(rerun.job_types)
        if await self._database.fetch_one("create_rerun", **values) is None:
            return False
        self._counts.created += 1
        return True

    async def _chains(self, rerun: Rerun) -> dict[str, object]:
        """Return the parameters of create_rerun about the chain and the saved state."""
        if not rerun.has_secrets:
            return {"chain_sealed_under": None, "state_sealed_under": None}
        chain = await self._columns.seal_chain(rerun.request_id, rerun.job_chain)
        state = await self._columns.seal_state(rerun.request_id, rerun.suspended_job_chain)
        return {
            "job_chain": chain.data,
            "chain_sealed_under": chain.sealed_under,
            "suspended_job_chain": state.data,
            "state_sealed_under": state.sealed_under,
        }

    async def find_live_rerun(self, request_id: str) -> tuple[str, State] | None:
        """Return (request id, state) of a request that has not ended and has the same root.

        The root of a request is the one from which it descends by reruns, or itself.
        """
        row = await self._database.fetch_one("live_rerun", request_id=request_id)
        return (row["request_id"], State(row["state"])) if row else None

    async def find_by_idempotency_key(self, user: str, key: str) -> tuple[str, str] | None:
        """Return (request id, content hash) of the request that was created with a key.

        A key of a caller without a name counts for every user, so that a call can be repeated
        after authentication was introduced.

        Raises:
            RequestUnreadable: the hash is sealed, and cannot be opened.
        """
        row = await self._database.fetch_one(
            "request_with_idempotency_key", user=user, idempotency_key=key
        )
        if row is None:
            return None
        request_id = row["request_id"]
        return request_id, self._columns.open_hash(request_id, row["content_hash"])

    async def get(self, request_ids: Sequence[str]) -> dict[str, Request]:
        """Return those of the requests that exist, by id."""
        rows = await self._database.fetch("get_requests", request_ids=list(request_ids))
        return {row["request_id"]: request_of(row) for row in rows}

    async def existing(self, request_ids: Sequence[str], types: frozenset[str] | None) -> list[str]:
        """Return the ids of those requests that exist and have one of the types; None means any."""
        rows = await self._database.fetch(
            "existing_requests", request_ids=list(request_ids), types=_listed(types)
        )
        return [row["request_id"] for row in rows]

    async def find_running(
        self, types: frozenset[str], request_id: str = ""
    ) -> dict[str, list[str]]:
        """Return the ids of running requests of some types by runner; or of one request."""
        found: dict[str, list[str]] = {}
        for row in await self._database.fetch(
            "running_requests", types=_listed(types), request_id=request_id
        ):
            found.setdefault(row["runner_id"], []).append(row["request_id"])
        return found

    async def count_open(self, user: str) -> int:
        """Return how many requests of a user have not ended."""
        row = await self._database.fetch_one("open_requests", user=user)
        return int(row["open"]) if row else 0

    async def find(
        self,
        which: RequestFilter,
        limit: int,
        offset: int = 0,
        after: PagePosition | None = None,
        *,
        with_args: bool = True,
    ) -> list[Request]:
        """Return the requests that match, newest first, from a position in the list on.

        Without `with_args`, `Request.given_args` of each is empty: those of a page may take
        gigabytes.
        """
        types = which.types
        if types is not None and which.type:
            types = None if which.type in types else frozenset()
        if types == frozenset():
            return []
        values = {
            "types": _listed(types),
            "states": [int(state) for state in which.states],
            "since": which.since,
            "until": which.until or FAR_FUTURE,
            "after_time": after.created_at if after else FAR_FUTURE,
            "after_id": after.request_id if after else "",
            "limit": limit,
            "offset": offset,
            "with_args": with_args,
        }
        if types is None or is_selective(which):
            rows = await self._database.fetch(
                "list_requests",
                type=which.type,
                user=which.user,
                args=json_text(which.args),
                **values,
            )
        else:
            rows = await self._database.fetch("list_requests_of_types", **values)
        return [request_of(row) for row in rows]

    async def any_running(self) -> bool:
        """Return whether any request is RUNNING."""
        row = await self._database.fetch_one("any_running")
        return bool(row and row["running"])


def is_selective(which: RequestFilter) -> bool:
    """Return whether few requests match a filter, besides the types that may be viewed.

    Those are found first, and then filtered by their types.
    """
    is_live = bool(which.states) and LIVE.issuperset(which.states)
    return bool(which.user or which.args or is_live)


def _listed(types: frozenset[str] | None) -> list[str] | None:
    return None if types is None else sorted(types)
