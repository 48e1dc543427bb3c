"""Requests, their archives and saved states in PostgreSQL."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import asyncpg
import orjson

from spincycle.database.database import Database
from spincycle.model.request_arg import RequestArg
from spincycle.model.state import State
from spincycle.request_manager.storage.model import (
    Assignment,
    DesiredState,
    Finished,
    NewRequest,
    Orphan,
    PagePosition,
    Progressed,
    QueuedRequests,
    Request,
    RequestFilter,
    Requirements,
    Rerun,
    Suspended,
    Waiting,
)
from spincycle.request_manager.storage.portions import PORTION_BYTES, in_portions
from spincycle.request_manager.storage.request_row import request_of
from spincycle.request_manager.storage.stored_args import NO_ARGS, StoredArgs
from spincycle.rpc.limits import REASON_BYTES
from spincycle.text.shortening import shortened

FAR_FUTURE = datetime(9999, 1, 1, tzinfo=UTC)
"""Later than any request."""


class RequestStore:
    """What the use cases ask of the schema request_manager, but for the runners.

    Every method raises DatabaseUnavailable while the database is away.

    Attributes:
        created: how many requests this process stored.
        ended: how many it ended, by state.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.created = 0
        self.ended: Counter[State] = Counter()

    async def create(
        self, requests: Sequence[NewRequest], runners: Mapping[str, str], lease: float
    ) -> set[str]:
        """Store requests with their archives; answer the ids of the new ones.

        Those that `runners` has a runner for are given to it, under the first epoch; it has
        `lease` seconds to accept them. One that is missing in the answer has an idempotency key
        that is known already. All are stored in one transaction, but for chains that are too
        large for that together.
        """
        new: set[str] = set()
        for portion in in_portions(requests, lambda request: len(request.job_chain)):
            new |= await self._create(portion, runners, lease)
        return new

    async def _create(
        self, requests: Sequence[NewRequest], runners: Mapping[str, str], lease: float
    ) -> set[str]:
        rows = await self._database.fetch_each(
            "create_request",
            [
                {
                    "request_id": request.request_id,
                    "type": request.type,
                    "user": request.user,
                    "created_at": request.created_at,
                    "total_jobs": request.total_jobs,
                    "priority": request.priority,
                    "spec_revision": request.spec_revision,
                    "plan_hash": request.plan_hash,
                    "given_args": _json(request.given_args),
                    "idempotency_key": request.idempotency_key or None,
                    "content_hash": request.content_hash,
                    "create_request": _json(request.create_request),
                    "args": _json(request.args),
                    "job_chain": request.job_chain,
                    "max_running": request.max_running,
                    "required_features": list(request.requirements.features),
                    "job_types": sorted(request.requirements.job_types),
                    "runner_id": runners.get(request.request_id),
                    "lease": _seconds(lease),
                }
                for request in requests
            ],
        )
        self.created += len(rows)
        return {row["request_id"] for row in rows}

    async def create_again(self, rerun: Rerun) -> None:
        """Store a request that runs another one again, in one transaction."""
        values = asdict(rerun)
        values["idempotency_key"] = rerun.idempotency_key or None
        values["job_types"] = sorted(rerun.job_types)
        await self._database.execute("create_again", **values)
        self.created += 1

    async def find_by_idempotency_key(self, user: str, key: str) -> tuple[str, str] | None:
        """(request id, content hash) of the request that was made with a key."""
        row = await self._database.fetch_one(
            "request_with_idempotency_key", user=user, idempotency_key=key
        )
        return (row["request_id"], row["content_hash"]) if row else None

    async def get(self, request_ids: Sequence[str]) -> dict[str, Request]:
        """Those of the requests that exist, by id."""
        rows = await self._database.fetch("get_requests", request_ids=list(request_ids))
        return {row["request_id"]: request_of(row) for row in rows}

    async def args(self, request_id: str) -> list[RequestArg]:
        """The arguments of a request as they were understood."""
        return (await self.stored_args(request_id)).parse()

    async def stored_args(self, request_id: str) -> StoredArgs:
        """As `args`, not parsed yet."""
        row = await self._database.fetch_one("get_args", request_id=request_id)
        return StoredArgs(row["args"]) if row else NO_ARGS

    async def job_chains(self, request_ids: Sequence[str]) -> dict[str, bytes]:
        """Archived chains, serialized, by request."""
        rows = await self._database.fetch("get_job_chains", request_ids=list(request_ids))
        return {row["request_id"]: row["job_chain"] for row in rows}

    def chain_portions(self, request_ids: Sequence[str]) -> AsyncIterator[dict[str, bytes]]:
        """Archived chains, as many at a time as memory should hold."""
        return self._portions("get_chain_portion", "job_chain", request_ids)

    async def find(
        self,
        which: RequestFilter,
        limit: int,
        offset: int = 0,
        after: PagePosition | None = None,
        *,
        with_args: bool = True,
    ) -> list[Request]:
        """Requests that match, newest first, from a place in the list on.

        Without `with_args`, `Request.given_args` of each is empty: those of a page may take
        gigabytes.
        """
        rows = await self._database.fetch(
            "list_requests",
            type=which.type,
            user=which.user,
            states=[int(state) for state in which.states],
            args=_json(which.args),
            since=which.since,
            until=which.until or FAR_FUTURE,
            after_time=after.created_at if after else FAR_FUTURE,
            after_id=after.request_id if after else "",
            limit=limit,
            offset=offset,
            with_args=with_args,
        )
        return [request_of(row) for row in rows]

    async def ask_for(self, wishes: Sequence[DesiredState]) -> set[str]:
        """Keep wishes, at most one a request; answer the ids of those that have not ended."""
        rows = await self._database.fetch(
            "ask_for",
            request_ids=[wish.request_id for wish in wishes],
            wishes=[int(wish.state) for wish in wishes],
            users=[wish.user for wish in wishes],
            reasons=[wish.reason for wish in wishes],
        )
        return set(self._moved(rows))

    async def let_go_on(self, request_id: str, user: str) -> bool:
        """Take back the wish to suspend a request; False if there was none."""
        row = await self._database.fetch_one("let_go_on", request_id=request_id, user=user)
        return row is not None

    async def any_running(self) -> bool:
        """Whether some request is RUNNING."""
        row = await self._database.fetch_one("any_running")
        return bool(row and row["running"])

    async def waiting(self, unavailable: Sequence[str], batch: int) -> dict[str, Waiting]:
        """Return requests that a live runner can run, in the order in which they are assigned.

        The runners `unavailable`, by id, do not count.
        """
        rows = await self._database.fetch(
            "waiting_requests", unavailable=list(unavailable), batch=batch
        )
        return {
            row["request_id"]: Waiting(
                row["limited"],
                Requirements(frozenset(row["required_features"]), frozenset(row["job_types"])),
            )
            for row in rows
        }

    async def assign(self, runner_by_request: dict[str, str], lease: float) -> list[Assignment]:
        """Give requests to runners under new epochs; the caller has `lease` seconds to send them.

        Those that no longer wait are left out, and those whose type has a limit.
        """
        given_at, pairs = time.monotonic(), _pairs(runner_by_request)
        rows = await self._database.fetch("assign_requests", **pairs, lease=_seconds(lease))
        return [assigned(row, given_at) for row in rows]

    async def assign_limited(
        self, runner_by_request: dict[str, str], lease: float
    ) -> list[Assignment]:
        """Give requests whose type has a limit to runners, as far as it leaves room."""
        given_at, pairs = time.monotonic(), _pairs(runner_by_request)
        async with self._database.transaction() as session:
            await session.execute("lock_limits")
            rows = await session.fetch("assign_limited_requests", **pairs, lease=_seconds(lease))
        return [assigned(row, given_at) for row in rows]

    async def unassign(self, assigned: Sequence[Assignment]) -> dict[str, State]:
        """Take requests back from runners that refused them; answer their states by id."""
        rows = await self._database.fetch("unassign_requests", **_identities(assigned))
        return self._moved(rows)

    async def accept(self, assigned: Sequence[Assignment]) -> dict[str, State | None]:
        """Note that runners took requests; answer, by id, what somebody wishes of each."""
        rows = await self._database.fetch("accept_requests", **_identities(assigned))
        return {row["request_id"]: State(row["wish"]) if row["wish"] else None for row in rows}

    async def fail(self, reasons: dict[Assignment, str]) -> set[str]:
        """End requests that no runner can run, each with its reason."""
        short = [shortened(reason, REASON_BYTES) for reason in reasons.values()]
        rows = await self._database.fetch(
            "fail_requests", **_identities(list(reasons)), reasons=short
        )
        self.ended[State.FAIL] += len(rows)
        return {row["request_id"] for row in rows}

    def suspended_job_chains(self, request_ids: Sequence[str]) -> AsyncIterator[dict[str, bytes]]:
        """Saved states, likewise; a request that never ran has none."""
        return self._portions("get_suspended_portion", "suspended_job_chain", request_ids)

    async def _portions(
        self, query: str, column: str, request_ids: Sequence[str]
    ) -> AsyncIterator[dict[str, bytes]]:
        left = sorted(request_ids)
        while left:
            rows = await self._database.fetch(query, request_ids=left, most=PORTION_BYTES)
            if not rows:
                return
            yield {row["request_id"]: row[column] for row in rows}
            last = rows[-1]["request_id"]
            left = [request_id for request_id in left if request_id > last]

    async def hold_assignments(self, assigned: Sequence[Assignment], lease: float) -> None:
        """Give whoever sends requests to their runner `lease` seconds from now."""
        await self._database.execute(
            "hold_assignments", **_identities(assigned), lease=_seconds(lease)
        )

    async def finish(self, reports: Sequence[Finished]) -> tuple[set[str], bool]:
        """Store ends of requests.

        Answers the ids of those that were taken, and whether a limited type has room now.
        """
        rows = await self._database.fetch(
            "finish_requests",
            **_identities(reports),
            states=[int(report.state) for report in reports],
            finished_ats=[report.finished_at for report in reports],
            running_times=[_seconds(report.running_time) for report in reports],
            finished_jobs=[report.finished_jobs for report in reports],
            reasons=[report.reason for report in reports],
        )
        states = {report.request_id: report.state for report in reports}
        self.ended.update(states[row["request_id"]] for row in rows)
        return {row["request_id"] for row in rows}, any(row["limited"] for row in rows)

    async def progress(self, reports: Sequence[Progressed]) -> set[str]:
        """Move counts of requests; answer the ids of those that were taken."""
        rows = await self._database.fetch(
            "progress_requests",
            **_identities(reports),
            finished_jobs=[report.finished_jobs for report in reports],
            rolled_back_jobs=[report.rolled_back_jobs for report in reports],
        )
        return {row["request_id"] for row in rows}

    async def suspend(self, reports: Sequence[Suspended]) -> dict[str, State]:
        """Keep saved states and take the requests from their runners.

        Answers the new state, SUSPENDED or STOPPED, of those that were taken.
        """
        states: dict[str, State] = {}
        for portion in in_portions(reports, lambda report: len(report.suspended_job_chain)):
            states |= await self._suspend(portion)
        return states

    async def _suspend(self, reports: Sequence[Suspended]) -> dict[str, State]:
        rows = await self._database.fetch(
            "suspend_requests",
            **_identities(reports),
            finished_jobs=[report.finished_jobs for report in reports],
            reasons=[report.reason for report in reports],
            suspended_job_chains=[report.suspended_job_chain for report in reports],
            job_types=[_json(sorted(report.job_types)) for report in reports],
            waits=[_seconds(report.wait) if report.wait else None for report in reports],
        )
        return self._moved(rows)

    async def states(self, request_ids: Sequence[str]) -> dict[str, tuple[State, int]]:
        """(state, epoch) of the requests that exist, by id."""
        rows = await self._database.fetch("states_of_requests", request_ids=list(request_ids))
        return {row["request_id"]: (State(row["state"]), row["epoch"]) for row in rows}

    async def claim_orphans(self, lease: float, batch: int) -> list[Orphan]:
        """Claim requests of runners that are gone, for `lease` seconds."""
        rows = await self._database.fetch("claim_orphans", lease=_seconds(lease), batch=batch)
        return [_orphan(row) for row in rows]

    async def claim_unanswered(self, assigned: Sequence[Assignment], lease: float) -> list[Orphan]:
        """Claim requests whose runner did not say whether it took them, for `lease` seconds."""
        rows = await self._database.fetch(
            "claim_unanswered", **_identities(assigned), lease=_seconds(lease)
        )
        return [_orphan(row) for row in rows]

    async def outrun_fence(self, orphan: Orphan, epoch: int) -> None:
        """Raise the epoch of a claimed request, and give the claim up."""
        await self._database.execute(
            "outrun_fence", request_id=orphan.request_id, epoch=orphan.epoch, to_epoch=epoch
        )

    async def hold_claims(self, orphans: Sequence[Orphan], lease: float) -> None:
        """Let claims end `lease` seconds from now."""
        await self._database.execute("hold_claims", **_identities(orphans), lease=_seconds(lease))

    async def queue(self) -> QueuedRequests:
        """What waits for a runner."""
        row = await self._database.fetch_one("queue")
        return QueuedRequests(**dict(row)) if row else QueuedRequests(0, 0, 0.0)

    def _moved(self, rows: Sequence[asyncpg.Record]) -> dict[str, State]:
        """Where requests are now, by id; those that ended are counted."""
        states = {row["request_id"]: State(row["state"]) for row in rows}
        self.ended.update(state for state in states.values() if state is State.STOPPED)
        return states


def _seconds(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def _identities(
    of: Sequence[Assignment]
    | Sequence[Orphan]
    | Sequence[Finished]
    | Sequence[Progressed]
    | Sequence[Suspended],
) -> dict[str, list[str] | list[int]]:
    return {
        "request_ids": [item.request_id for item in of],
        "epochs": [item.epoch for item in of],
    }


def _pairs(runner_by_request: dict[str, str]) -> dict[str, list[str]]:
    return {
        "request_ids": list(runner_by_request),
        "runner_ids": list(runner_by_request.values()),
    }


def _orphan(row: asyncpg.Record) -> Orphan:
    return Orphan(row["request_id"], row["epoch"], row["runner_id"] or "", row["losses_since"])


def assigned(row: asyncpg.Record, given_at: float = float("-inf")) -> Assignment:
    """A request that a row says is assigned; by this process if `given_at` is given."""
    return Assignment(row["request_id"], row["runner_id"], row["epoch"], row["resumed"], given_at)


def _json(value: object) -> str:
    return orjson.dumps(value).decode()
