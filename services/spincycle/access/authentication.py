"""Authenticates the callers of a listener by the configured authenticators."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol, TypeVar, runtime_checkable

from spincycle.access.caller import Caller
from spincycle.access.credential_limit import CredentialLimit
from spincycle.access.credentials import MAX_TOKEN_BYTES, Credentials
from spincycle.errors import AuthenticationUnavailable, NotAuthenticated

_BEARER = "bearer "

Kind = TypeVar("Kind")


class Authenticator(Protocol):
    """Recognises one kind of credential."""

    @property
    def name(self) -> str:
        """Name in the audit log and in metrics."""
        ...

    async def authenticate(self, credentials: Credentials) -> Caller | None:
        """Return the caller; None if the call has no credential of this kind.

        Raises:
            NotAuthenticated: the credential is of this kind, and is not valid.
            AuthenticationUnavailable: it cannot be verified now.
        """
        ...


OnChange = Callable[[], Awaitable[None]]
"""Receives that credentials may have been revoked."""


@runtime_checkable
class Watched(Authenticator, Protocol):
    """An authenticator that follows changes of what it accepts."""

    async def watch(self, on_change: OnChange) -> None:
        """Follow the changes, until cancelled."""
        ...


class Authentication:
    """Asks authenticators in order; the first that recognises its credential decides.

    Attributes:
        outcomes: number of calls by authenticator and outcome: accepted, refused, unavailable.
    """

    def __init__(self, authenticators: Sequence[Authenticator]) -> None:
        self._authenticators = tuple(authenticators)
        self._streams: set[CredentialLimit] = set()
        self.outcomes: Counter[tuple[str, str]] = Counter()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the authenticators, in order."""
        return tuple(one.name for one in self._authenticators)

    def find(self, kind: type[Kind]) -> Kind | None:
        """Return the authenticator of a class; None if none is configured."""
        return next((one for one in self._authenticators if isinstance(one, kind)), None)

    async def authenticate(self, credentials: Credentials) -> Caller:
        """Return the caller of a call.

        Raises:
            NotAuthenticated: it has no valid credential, or several bearer tokens.
            AuthenticationUnavailable: its credential cannot be verified now.
        """
        try:
            _check_shape(credentials.authorization)
        except NotAuthenticated:
            self.outcomes["", "refused"] += 1
            raise
        for one in self._authenticators:
            try:
                caller = await one.authenticate(credentials)
            except NotAuthenticated:
                self.outcomes[one.name, "refused"] += 1
                raise
            except Exception:
                self.outcomes[one.name, "unavailable"] += 1
                raise
            if caller is not None:
                self.outcomes[one.name, "accepted"] += 1
                return caller if caller.peer else replace(caller, peer=credentials.peer)
        self.outcomes["", "refused"] += 1
        if credentials.authorization:
            raise NotAuthenticated("the bearer token is not known here")
        raise NotAuthenticated("the call has no credential that this installation accepts")

    async def watch(self) -> None:
        """Follow the changes of what the authenticators accept, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for one in self._authenticators:
                if isinstance(one, Watched):
                    group.create_task(one.watch(partial(self._recheck, one)))

    def limit(self, caller: Caller, credentials: Credentials) -> CredentialLimit:
        """Return the limit of a stream of a caller, which ends when its credential is revoked."""
        return CredentialLimit(caller, credentials, self._streams)

    async def _recheck(self, authenticator: Authenticator) -> None:
        """End the streams of an authenticator's callers that it would no longer accept."""
        for stream in list(self._streams):
            before, credentials = stream.caller, stream.credentials
            if before.authenticator != authenticator.name or credentials is None:
                continue
            try:
                caller = await authenticator.authenticate(credentials)
            except NotAuthenticated as error:
                stream.end(error.problem)
            except AuthenticationUnavailable:
                continue
            else:
                if caller is None:
                    stream.end("the credential was revoked")
                elif (caller.name, caller.roles) != (before.name, before.roles):
                    stream.end("the roles of the caller have changed; repeat the call")


def bearer_token(credentials: Credentials) -> str:
    """Return the bearer token of a call; empty without one."""
    for value in credentials.authorization:
        if value[: len(_BEARER)].lower() == _BEARER:
            return value[len(_BEARER) :].strip()
    return ""


def _check_shape(values: Sequence[str]) -> None:
    if not values:
        return
    if len(values) > 1:
        raise NotAuthenticated(f"the call has {len(values)} Authorization headers, not one")
    value = values[0]
    if len(value) > MAX_TOKEN_BYTES:
        raise NotAuthenticated(f"the Authorization header is larger than {MAX_TOKEN_BYTES} bytes")
    if value[: len(_BEARER)].lower() != _BEARER or not value[len(_BEARER) :].strip():
        raise NotAuthenticated('the Authorization header must be "Bearer" and a token')
