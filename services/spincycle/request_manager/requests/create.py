"""Making requests: from a wish to a stored request with its chain."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol

import orjson
import structlog

from spincycle.batching.coalescer import Coalescer
from spincycle.chain.remaining_job_types import job_types
from spincycle.errors import (
    FieldViolation,
    IdempotencyConflict,
    InvalidArgs,
    InvalidInput,
    PlanChanged,
)
from spincycle.model.job_chain import JobChain, Value
from spincycle.model.request_arg import RequestArg
from spincycle.model.request_id import RequestIds
from spincycle.model.state import State
from spincycle.request_manager.runners.dispatcher import Dispatcher
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
"""About how many bytes a job takes beside its arguments."""

MUCH = 256 * 1024
"""Bytes of a chain from which it is written in a thread."""

MAX_PRIORITY = 100
"""Highest priority; the lowest is its negative."""


@dataclass(frozen=True, slots=True)
class CreateParams:
    """What somebody asks for; see spincycle.v1.CreateRequest.

    Attributes:
        size: bytes of the arguments as they were received.
    """

    type: str
    args: dict[str, Value] = field(default_factory=dict)
    user: str = ""
    idempotency_key: str = ""
    expected_plan_hash: str = ""
    priority: int = 0
    size: int = 0

    def makes_much(self, jobs: int) -> bool:
        """Whether writing a chain of so many jobs takes longer than other calls may wait.

        Each of them may have a copy of the arguments.
        """
        return jobs * (JOB_BYTES + self.size) >= MUCH


@dataclass(frozen=True, slots=True)
class BuiltRequest:
    """What a wish comes to: the chain, the arguments as understood, and where from.

    Attributes:
        max_running: most requests of the type that run at once; None means no limit.
    """

    chain: JobChain
    args: list[RequestArg]
    plan_hash: str
    spec_revision: str
    max_running: int | None = None


class Planner(Protocol):
    """Builds the chain of a request, and stores nothing.

    Raises UnknownRequestType, InvalidArgs and ChainNotBuilt.
    """

    async def build(self, type_: str, args: dict[str, Value], request_id: str) -> BuiltRequest: ...


Encode = Callable[[JobChain], bytes]
"""Serializes a chain as it is archived and sent."""


class RequestCreator:
    """Creates requests; each is answered after it is stored, and is dispatched then."""

    def __init__(
        self,
        planner: Planner,
        encode: Encode,
        store: RequestStore,
        archives: ArchiveStore,
        dispatcher: Dispatcher,
        changes: ChangeBus,
    ) -> None:
        self._planner = planner
        self._encode = encode
        self._store = store
        self._archives = archives
        self._dispatcher = dispatcher
        self._changes = changes
        self._ids = RequestIds()
        self._writes = Coalescer[NewRequest, bool](self._write, in_flight=2)

    @property
    def coalescers(self) -> dict[str, Coalescer[Any, Any]]:
        """What is written together, by kind."""
        return {"create": self._writes}

    async def create(self, wish: CreateParams) -> tuple[Request, list[RequestArg], bool]:
        """The request, its arguments, and whether an earlier call had made it.

        Raises:
            UnknownRequestType, InvalidArgs, ChainNotBuilt, InvalidInput: the wish is wrong.
            IdempotencyConflict: the key was used with other content.
            PlanChanged: what was built is not what the caller expects.
            DatabaseUnavailable: it may or may not be stored.
        """
        _check(wish)
        if wish.idempotency_key and (existing := await self._existing(wish)):
            return *existing, True
        request_id = self._ids.new()
        built = await self._planner.build(wish.type, wish.args, request_id)
        if wish.expected_plan_hash and wish.expected_plan_hash != built.plan_hash:
            raise PlanChanged(wish.expected_plan_hash, built.plan_hash)
        new = await off_loop(
            wish.makes_much(len(built.chain.jobs)), partial(self._new, wish, built, request_id)
        )
        if not await self._writes.submit(new):
            existing = await self._existing(wish)
            assert existing is not None, "only a known idempotency key keeps a request out"
            return *existing, True
        return _stored(new), new.args, False

    async def plan(self, wish: CreateParams) -> BuiltRequest:
        """What `create` would store. Raises as it does."""
        _check(wish)
        return await self._planner.build(wish.type, wish.args, "")

    async def _existing(self, wish: CreateParams) -> tuple[Request, list[RequestArg]] | None:
        found = await self._store.find_by_idempotency_key(wish.user, wish.idempotency_key)
        if found is None:
            return None
        request_id, content_hash = found
        if content_hash != _content_hash(wish):
            raise IdempotencyConflict(wish.idempotency_key, request_id)
        request = (await self._store.get([request_id]))[request_id]
        return request, await self._archives.args(request_id)

    def _new(self, wish: CreateParams, built: BuiltRequest, request_id: str) -> NewRequest:
        return NewRequest(
            request_id=request_id,
            type=wish.type,
            user=wish.user,
            created_at=datetime.now(UTC),
            total_jobs=len(built.chain.jobs),
            priority=wish.priority,
            spec_revision=built.spec_revision,
            plan_hash=built.plan_hash,
            given_args=_searchable(wish, built.args),
            create_request={"Type": wish.type, "Args": wish.args, "User": wish.user},
            content_hash=_content_hash(wish) if wish.idempotency_key else "",
            args=built.args,
            job_chain=self._encode(built.chain),
            idempotency_key=wish.idempotency_key,
            max_running=built.max_running,
            requirements=Requirements(
                frozenset(built.chain.required_features), job_types(built.chain)
            ),
        )

    async def _write(self, requests: list[NewRequest]) -> list[bool]:
        # Given to a runner as they are stored, requests need no second transaction for that.
        free = {
            request.request_id: request.requirements
            for request in requests
            if request.max_running is None
        }
        given_at = time.monotonic()
        runners, lease = await self._dispatcher.choose(free)
        new = await self._store.create(requests, runners, lease)
        assigned = {
            request_id: Assignment(
                request_id, runner_id, FIRST_EPOCH, resumed=False, given_at=given_at
            )
            for request_id, runner_id in runners.items()
        }
        # In the next turn of the loop the callers wake up and are answered; this comes after it.
        loop = asyncio.get_running_loop()
        loop.call_soon(
            loop.call_soon,
            self._go_on,
            [request for request in requests if request.request_id in new],
            assigned,
        )
        return [request.request_id in new for request in requests]

    def _go_on(self, stored: list[NewRequest], assigned: dict[str, Assignment]) -> None:
        """Have requests that were just stored sent to their runners, and tell of them."""
        log = structlog.get_logger()
        for request in stored:
            if one := assigned.get(request.request_id):
                self._dispatcher.send(one, request.job_chain)
            else:
                self._dispatcher.look()
        for request in stored:
            log.info(
                "created",
                request_id=request.request_id,
                type=request.type,
                jobs=request.total_jobs,
                user=request.user,
            )
        self._changes.changed([request.request_id for request in stored])


def _check(wish: CreateParams) -> None:
    if not wish.type:
        raise InvalidInput("Type is empty, must be a request name", "type")
    if abs(wish.priority) > MAX_PRIORITY:
        raise InvalidInput(
            f"a priority lies between -{MAX_PRIORITY} and {MAX_PRIORITY}", "priority"
        )
    unstorable = [
        FieldViolation(f"args.{name}", f'argument "{name}" holds the character NUL')
        for name, value in wish.args.items()
        if b"\\u0000" in orjson.dumps([name, value])
    ]
    if unstorable:
        raise InvalidArgs(unstorable[0].description, wish.type, tuple(unstorable))


def _content_hash(wish: CreateParams) -> str:
    content = [wish.type, wish.args, wish.expected_plan_hash, wish.priority]
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _searchable(wish: CreateParams, args: list[RequestArg]) -> dict[str, str]:
    """The given arguments as text. A secret one cannot be searched for."""
    secret = {arg.name for arg in args if arg.secret}
    return {
        name: value if isinstance(value, str) else orjson.dumps(value).decode()
        for name, value in wish.args.items()
        if name not in secret
    }


def _stored(new: NewRequest) -> Request:
    return Request(
        request_id=new.request_id,
        type=new.type,
        state=State.PENDING,
        user=new.user,
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
