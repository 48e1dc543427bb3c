"""A plug-in that authenticates callers and authorises operations by rules of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import EntryPoint, entry_points
from typing import Protocol, TypeVar, cast

import structlog

from spincycle.access.caller import Caller
from spincycle.access.credentials import Credentials
from spincycle.errors import AuthenticationUnavailable, NotAuthenticated
from spincycle.model.operation import Operation
from spincycle.runtime.config import ConfigError

ENTRY_POINTS = "spincycle.access"
"""Entry point group in which a distribution registers its plug-in: a callable without arguments,
such as a class, that returns an AccessPlugin."""

PLUGIN = "plugin"
"""Name of the authenticator."""

DEADLINE = 2.0
"""Seconds within which a plug-in decides."""

T = TypeVar("T")


class Denied(Exception):
    """A plug-in denies access; the message says why, and the caller reads it."""


class PluginFailed(Exception):
    """A plug-in did not decide within DEADLINE, or raised another exception than Denied."""


@dataclass(frozen=True, slots=True)
class RequestAccess:
    """The request of an operation, as a plug-in sees it.

    Attributes:
        type: request type.
        request_id: empty before the request is created.
        args: values that the caller gives, by argument; those of secret arguments are masked.
            Empty for operations on requests that exist.
    """

    type: str
    request_id: str = ""
    args: Mapping[str, object] = field(default_factory=dict)


class AccessPlugin(Protocol):
    """Authenticates and authorises by rules of its own. Both methods fail closed."""

    async def authenticate(self, metadata: Mapping[str, Sequence[str]], peer: str) -> Caller | None:
        """Return the caller; None if the call has no credential of the plug-in.

        Args:
            metadata: values by header name in lower case: HTTP headers, or gRPC metadata.
            peer: address of the caller.

        Raises:
            Denied: the credential is not valid.
        """
        ...

    async def authorize(
        self, caller: Caller, operation: Operation, request: RequestAccess | None
    ) -> None:
        """Return if the caller may do it; only asked after the other rules have allowed it.

        `request` is None for operations on no request.

        Raises:
            Denied: it may not.
        """
        ...


class Plugin:
    """Asks a plug-in within the deadline.

    Args:
        plugin: the plug-in.
        deadline: seconds within which it decides.
    """

    name = PLUGIN

    def __init__(self, plugin: AccessPlugin, deadline: float = DEADLINE) -> None:
        self._plugin = plugin
        self._deadline = deadline

    async def authenticate(self, credentials: Credentials) -> Caller | None:
        """Return the caller; None if the call has no credential of the plug-in.

        Raises:
            NotAuthenticated: the plug-in denies the credential.
            AuthenticationUnavailable: the plug-in failed.
        """
        try:
            caller = await self._within(
                self._plugin.authenticate(credentials.headers, credentials.peer), "authenticate"
            )
        except Denied as denied:
            raise NotAuthenticated(str(denied))
        except PluginFailed as error:
            raise AuthenticationUnavailable(str(error))
        if caller is None:
            return None
        if not isinstance(cast("object", caller), Caller):
            raise AuthenticationUnavailable(
                f"the plug-in returned {type(caller).__name__}, not a Caller"
            )
        # Its own name, so that no plug-in can return a service.
        return replace(caller, roles=tuple(caller.roles), authenticator=self.name)

    async def authorize(
        self, caller: Caller, operation: Operation, request: RequestAccess | None
    ) -> None:
        """Return if the plug-in allows the operation.

        Raises:
            Denied: it does not.
            PluginFailed: it failed, so the operation must be denied.
        """
        await self._within(self._plugin.authorize(caller, operation, request), "authorize")

    async def _within(self, decision: Awaitable[T], method: str) -> T:
        try:
            async with asyncio.timeout(self._deadline):
                return await decision
        except Denied:
            raise
        except TimeoutError:
            raise PluginFailed(
                f"the access plug-in did not decide within {self._deadline:g} seconds"
            )
        except Exception as error:  # noqa: BLE001 # plug-ins raise various exceptions
            structlog.get_logger().error("access plug-in failed", method=method, exc_info=error)
            raise PluginFailed("the access plug-in failed; its log entry says why")


def load_plugin(name: str, installed: Iterable[EntryPoint] | None = None) -> Plugin | None:
    """Return the plug-in that `auth.plugin` names; None if it is empty.

    `installed` are the entry points; by default those of the installed distributions.

    Raises:
        ConfigError: no distribution, or several, has a plug-in of this name, or it cannot be made.
    """
    if not name:
        return None
    points = list(entry_points(group=ENTRY_POINTS) if installed is None else installed)
    named = [point for point in points if point.name == name]
    if len(named) != 1:
        known = ", ".join(sorted({point.name for point in points})) or "none"
        raise ConfigError(
            f'auth.plugin: {len(named)} installed distributions have an entry point "{name}" of '
            f"the group {ENTRY_POINTS}, not one; the group has: {known}"
        )
    try:
        plugin = named[0].load()()
    except Exception as error:
        raise ConfigError(
            f'auth.plugin: cannot make the plug-in "{name}" ({named[0].value}): '
            f"{type(error).__name__}: {error}"
        ) from error
    missing = [
        method
        for method in ("authenticate", "authorize")
        if not callable(getattr(plugin, method, None))
    ]
    if missing:
        raise ConfigError(
            f'auth.plugin: the plug-in "{name}" has no method {" and no method ".join(missing)}'
        )
    return Plugin(plugin)
