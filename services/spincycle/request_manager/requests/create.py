"""Creates requests."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

import orjson
import structlog

from spincycle.access.caller import NOBODY, Caller
from spincycle.access.limits import CallerLimits
from spincycle.batching.coalescer import Coalescer
from spincycle.chain.remaining_job_types import job_types
from spincycle.errors import (
    FieldViolation,
    IdempotencyConflict,
    InvalidArgs,
    InvalidInput,
    PlanChanged,
    SecretsNotSealed,
    TooManyOpenRequests,
)
from spincycle.model.job_chain import JobChain, Value, has_secret_args
from spincycle.model.operation import Operation
from spincycle.model.redaction import redacted
from spincycle.model.request_arg import RequestArg
from spincycle.model.request_id import RequestIds
from spincycle.model.state import State
from spincycle.request_manager.requests.access_control import AccessControl
from spincycle.request_manager.runners.dispatcher import Dispatcher
from spincycle.request_manager.storage.actor import Actor
from spincycle.request_manager.storage.archive_store import ArchiveStore
from spincycle.request_manager.storage.change_bus import ChangeBus
from spincycle.request_manager.storage.model import (
    FIRST_EPOCH,
    Assignment,
    NewRequest,
    Request,
    Requirements,
)
from spincycle.request_manager.storage.request_store import RequestStore
from spincycle.runtime.off_loop import off_loop

JOB_BYTES = 200
"""Approximate bytes of a serialized job without its arguments."""

LARGE_BYTES = 256 * 1024
"""Bytes of a chain from which it is serialized in a thread."""

MAX_PRIORITY = 100
"""Highest priority; the lowest is its negative."""


@dataclass(frozen=True, slots=True)
class CreateParams:
    """Parameters of a request to create, as in spincycle.v1.CreateRequest.

    Attributes:
        user: user for whom the caller creates it; ignored unless the caller may impersonate.
        size: bytes of the arguments as received.
    """

    type: str
    args: dict[str, Value] = field(default_factory=dict)
    caller: Caller = NOBODY
    user: str = ""
    idempotency_key: str = ""
    expected_plan_hash: str = ""
    priority: int = 0
    size: int = 0

    def is_large_chain(self, jobs: int) -> bool:
        """Return whether serializing a chain of `jobs` jobs would delay other calls.

        Each job may have a copy of the arguments.
        """
        return jobs * (JOB_BYTES + self.size) >= LARGE_BYTES


@dataclass(frozen=True, slots=True)
class BuiltRequest:
    """A planned request: its chain, its resolved arguments, and the specs that were used.

    Attributes:
        max_running: most requests of the type that run at once; None means no limit.
    """

    chain: JobChain
    args: list[RequestArg]
    plan_hash: str
    spec_revision: str
    max_running: int | None = None

    @property
    def has_secrets(self) -> bool:
        """Whether arguments of the request or of jobs are secret."""
        return any(arg.secret for arg in self.args) or has_secret_args(self.chain)


class Planner(Protocol):
    """Builds the chain of a request.

    Raises UnknownRequestType, InvalidArgs and ChainNotBuilt.
    """

    async def build(self, type_: str, args: dict[str, Value], request_id: str) -> BuiltRequest: ...


Encode = Callable[[JobChain], bytes]
"""Serializes a chain for the archive and for runners."""


class RequestCreator:
    """Creates requests: plans, stores, and dispatches them. A call returns after the commit."""

    def __init__(
        self,
        planner: Planner,
        encode: Encode,
        store: RequestStore,
        archives: ArchiveStore,
        dispatcher: Dispatcher,
        changes: ChangeBus,
        *,
        access: AccessControl,
        limits: CallerLimits,
    ) -> None:
        self._planner = planner
        self._encode = encode
        self._store = store
        self._archives = archives
        self._dispatcher = dispatcher
        self._changes = changes
        self._access = access
        self._limits = limits
        self._ids = RequestIds()
        self._writes = Coalescer[NewRequest, bool](self._write, in_flight=2)

    @property
    def coalescers(self) -> dict[str, Coalescer[Any, Any]]:
        """Coalescers of the writes, by kind."""
        return {"create": self._writes}

    async def create(self, params: CreateParams) -> tuple[Request, list[RequestArg], bool]:
        """Return the request, its resolved arguments, and whether an earlier call created it.

        Raises:
            AccessDenied: the caller may not start requests of the type.
            UnknownRequestType, InvalidArgs, ChainNotBuilt, InvalidInput: the parameters are wrong.
            TooManyCreations, TooManyOpenRequests: a limit of the caller is reached.
            IdempotencyConflict: the key was used with other content.
            PlanChanged: the plan differs from the one that the caller expects.
            SecretsNotSealed: the request has secrets, which must not be stored in clear.
            DatabaseUnavailable: the request may or may not be stored.
        """
        _check(params)
        actor = await self._authorize(params)
        if params.idempotency_key and (existing := await self._existing(params, actor)):
            return *existing, True
        self._limits.count_creation(params.caller.name)
        request_id = self._ids.new()
        built = await self._planner.build(params.type, params.args, request_id)
        if params.expected_plan_hash and params.expected_plan_hash != built.plan_hash:
            raise PlanChanged(params.expected_plan_hash, built.plan_hash)
        has_secrets = built.has_secrets
        if has_secrets and not self._store.accepts_secrets:
            raise SecretsNotSealed(params.type)
        new = await off_loop(
            params.is_large_chain(len(built.chain.jobs)),
            partial(self._new, params, actor, built, request_id, has_secrets=has_secrets),
        )
        if not await self._writes.submit(new):
            if params.idempotency_key and (existing := await self._existing(params, actor)):
                return *existing, True
            assert new.open_limit is not None, "only keys and limits prevent the insert"
            raise TooManyOpenRequests(actor.user, new.open_limit)
        return _stored(new), new.args, False

    async def plan(self, params: CreateParams) -> BuiltRequest:
        """Return what `create` would store; raises as `create`."""
        _check(params)
        await self._authorize(params)
        return await self._planner.build(params.type, params.args, "")

    async def _authorize(self, params: CreateParams) -> Actor:
        """Return who creates the request, and for whom."""
        caller = params.caller
        actor = await self._access.authorize(caller, Operation.START, params.type, args=params.args)
        if params.user in ("", caller.name) or not self._access.may_impersonate(caller):
            return actor
        await self._access.authorize_impersonation(caller, params.user)
        return replace(actor, on_behalf_of=params.user)

    async def _existing(
        self, params: CreateParams, actor: Actor
    ) -> tuple[Request, list[RequestArg]] | None:
        found = await self._store.find_by_idempotency_key(actor.user, params.idempotency_key)
        if found is None:
            return None
        request_id, content_hash = found
        if content_hash != _content_hash(params):
            raise IdempotencyConflict(params.idempotency_key, request_id)
        request = (await self._store.get([request_id]))[request_id]
        return request, await self._archives.args(request_id)

    def _new(
        self,
        params: CreateParams,
        actor: Actor,
        built: BuiltRequest,
        request_id: str,
        *,
        has_secrets: bool,
    ) -> NewRequest:
        secret = [arg.name for arg in built.args if arg.secret]
        args = redacted(params.args, secret) if secret else params.args
        return NewRequest(
            request_id=request_id,
            type=params.type,
            actor=actor,
            created_at=datetime.now(UTC),
            total_jobs=len(built.chain.jobs),
            priority=params.priority,
            spec_revision=built.spec_revision,
            plan_hash=built.plan_hash,
            given_args=_searchable(params, built.args),
            create_request={"Type": params.type, "Args": args, "User": actor.user},
            content_hash=_content_hash(params) if params.idempotency_key else "",
            args=built.args,
            job_chain=self._encode(built.chain),
            idempotency_key=params.idempotency_key,
            max_running=built.max_running,
            open_limit=self._limits.open_requests,
            requirements=Requirements(
                frozenset(built.chain.required_features), job_types(built.chain)
            ),
            has_secrets=has_secrets,
            approved_plan_hash=params.expected_plan_hash,
        )

    async def _write(self, requests: list[NewRequest]) -> list[bool]:
        # Requests that are assigned as they are stored need no second transaction for that.
        unlimited = {
            request.request_id: request.requirements
            for request in requests
            if request.max_running is None
        }
        assigned_at = time.monotonic()
        runners, lease = await self._dispatcher.pick_runners(unlimited)
        new = await self._store.create(requests, runners, lease)
        assigned = {
            request_id: Assignment(
                request_id, runner_id, FIRST_EPOCH, resumed=False, assigned_at=assigned_at
            )
            for request_id, runner_id in runners.items()
        }
        # The callers continue in the next iteration of the event loop, and this in the one after.
        loop = asyncio.get_running_loop()
        loop.call_soon(
            loop.call_soon,
            self._after_commit,
            [request for request in requests if request.request_id in new],
            assigned,
        )
        return [request.request_id in new for request in requests]

    def _after_commit(self, stored: list[NewRequest], assigned: dict[str, Assignment]) -> None:
        """Dispatch, log and publish requests that were just stored."""
        log = structlog.get_logger()
        for request in stored:
            if one := assigned.get(request.request_id):
                self._dispatcher.send(one, request.job_chain)
            else:
                self._dispatcher.wake()
        for request in stored:
            log.info(
                "created",
                request_id=request.request_id,
                type=request.type,
                jobs=request.total_jobs,
                user=request.actor.user,
            )
        self._changes.publish([request.request_id for request in stored])


def _check(params: CreateParams) -> None:
    if not params.type:
        raise InvalidInput("Type is empty, must be a request name", "type")
    if abs(params.priority) > MAX_PRIORITY:
        raise InvalidInput(
            f"priority must be between -{MAX_PRIORITY} and {MAX_PRIORITY}", "priority"
        )
    unstorable = [
        FieldViolation(f"args.{name}", f'argument "{name}" holds the character NUL')
        for name, value in params.args.items()
        if b"\\u0000" in orjson.dumps([name, value])
    ]
    if unstorable:
        raise InvalidArgs(unstorable[0].description, params.type, tuple(unstorable))


def _content_hash(params: CreateParams) -> str:
    content = [params.type, params.args, params.expected_plan_hash, params.priority]
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _searchable(params: CreateParams, args: list[RequestArg]) -> dict[str, str]:
    """Return the arguments as text, without secret ones, for the filter of lists."""
    secret = {arg.name for arg in args if arg.secret}
    return {
        name: value if isinstance(value, str) else orjson.dumps(value).decode()
        for name, value in params.args.items()
        if name not in secret
    }


def _stored(new: NewRequest) -> Request:
    return Request(
        request_id=new.request_id,
        type=new.type,
        state=State.PENDING,
        user=new.actor.user,
        created_at=new.created_at,
        started_at=None,
        finished_at=None,
        total_jobs=new.total_jobs,
        finished_jobs=0,
        rolled_back_jobs=0,
        epoch=0,
        runner_id="",
        runner_address="",
        priority=new.priority,
        reason="",
        spec_revision=new.spec_revision,
        plan_hash=new.plan_hash,
        rerun_of="",
        desired_state=None,
    )
